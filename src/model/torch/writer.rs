//! Writes archives, good ones and others: for tests alone.

/// An entry of an archive.
pub(crate) struct Entry<'a> {
    pub name: &'a str,
    pub bytes: &'a [u8],
    pub method: u16,
    /// What the directory says of its length.
    pub claimed: usize,
}

impl<'a> Entry<'a> {
    pub(crate) fn stored(name: &'a str, bytes: &'a [u8]) -> Entry<'a> {
        Entry { name, bytes, method: 0, claimed: bytes.len() }
    }
}

/// A ZIP file.
pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for Entry { name, bytes, method, claimed } in entries {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        let head = file.len() as u32;
        let packed = if *method == 0 { *claimed } else { bytes.len() };
        let same = [
            &0u16.to_le_bytes()[..],
            &method.to_le_bytes(),
            &[0; 4],
            &crc.sum().to_le_bytes(),
            &(packed as u32).to_le_bytes(),
            &(*claimed as u32).to_le_bytes(),
            &(name.len() as u16).to_le_bytes(),
            &[0; 2],
        ]
        .concat();
        file.extend([b"PK\x03\x04\x14\0", &same[..], name.as_bytes(), bytes].concat());
        directory.extend([b"PK\x01\x02\0\0\x14\0", &same[..], &[0; 10], &head.to_le_bytes(), name.as_bytes()].concat());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let [len, at] = [directory.len(), file.len()].map(|value| (value as u32).to_le_bytes());
    [&file, &directory, &b"PK\x05\x06\0\0\0\0"[..], &count, &count, &len, &at, &[0; 2]].concat()
}

/// A file of a pickle and one storage of four floats, which the pickle may name `0`.
pub(crate) fn with_pickle(pickle: &[u8]) -> Vec<u8> {
    archive(&[Entry::stored("a/data.pkl", pickle), Entry::stored("a/data/0", &[0; 16])])
}

/// The operation that makes a text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// The same of a whole number.
#[cfg(test)]
fn number(value: usize) -> Vec<u8> {
    [b"J", &(value as u32).to_le_bytes()[..]].concat()
}

/// A dictionary of tensors of float32, by their names and shapes.
#[cfg(test)]
pub(crate) fn state_dict(tensors: &[(&str, Vec<usize>, Vec<f32>)]) -> Vec<u8> {
    let mut pickle = b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec();
    for (key, (name, shape, values)) in tensors.iter().enumerate() {
        let sides: Vec<u8> = shape.iter().flat_map(|&side| number(side)).collect();
        let strides = (1..=shape.len()).flat_map(|i| number(shape[i..].iter().product()));
        let storage = [b"((", &text("storage")[..], b"ctorch\nFloatStorage\n", &text(&key.to_string()), &text("cpu")];
        let view = [&number(values.len())[..], b"tQK\0(", &sides, b"t(", &strides.collect::<Vec<_>>(), b"t\x89}tR"];
        pickle.extend(
            [&text(name)[..], b"ctorch._utils\n_rebuild_tensor_v2\n", &storage.concat(), &view.concat()].concat(),
        );
    }
    pickle.extend(b"u.");
    let names: Vec<String> = (0..tensors.len()).map(|key| format!("a/data/{key}")).collect();
    let storages = names.iter().zip(tensors);
    let storages = storages.map(|(name, (_, _, values))| Entry::stored(name, bytemuck::cast_slice(values)));
    archive(&[Entry::stored("a/data.pkl", &pickle)].into_iter().chain(storages).collect::<Vec<_>>())
}
