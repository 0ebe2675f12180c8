//! Files that PyTorch has written, and such as were made to do harm.

use std::path::Path;

use super::objects::MOST;
use super::writer::{Entry, archive, text, with_pickle};
use super::*;
use crate::files;
use crate::model::checkpoint::TensorFile;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch").join(name)
}

fn problem(bytes: Vec<u8>) -> String {
    let read = TorchFile::parse(Path::new("file.pth"), bytes).and_then(|file| file.root().tensors().map(drop));
    read.unwrap_err().to_string()
}

/// The operations for a tensor of storage `0`, of (offset, sizes, strides), each as operations.
fn tensor(offset: &[u8], sizes: &[u8], strides: &[u8]) -> Vec<u8> {
    let storage =
        [b"((", &text("storage")[..], b"ctorch\nFloatStorage\n", &text("0"), &text("cpu"), b"K\x04tQ"].concat();
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        &storage[..],
        offset,
        sizes,
        strides,
        b"\x89ccollections\nOrderedDict\n)RtR",
    ]
    .concat()
}

/// A dictionary with one tensor.
fn dictionary(tensor: &[u8]) -> Vec<u8> {
    [b"\x80\x02}", &text("w")[..], tensor, b"s."].concat()
}

/// A file that PyTorch has written.
fn read(name: &str) -> TorchFile {
    TorchFile::parse(&golden(name), files::read(&golden(name)).unwrap()).unwrap()
}

#[test]
fn both_formats_give_what_pytorch_saved() {
    let (path, bytes) = (golden("state.safetensors"), files::read(&golden("state.safetensors")).unwrap());
    let expected = TensorFile::parse(&path, &bytes, "").unwrap();
    for name in ["state.pth", "state_legacy.pth"] {
        let file = read(name);
        let state = file.root().tensors().unwrap();
        assert_eq!(state.names().len(), expected.names().len() + 1);
        for tensor in expected.names() {
            assert_eq!(state.shape(tensor), expected.shape(tensor), "{name} {tensor}");
            assert_eq!(state.floats(tensor), expected.floats(tensor), "{name} {tensor}");
        }
        assert_eq!(state.integer("batches"), Some(1_234_567_890_123));
        assert_eq!(state.floats("batches"), Err("int64".to_string()));
        assert_eq!((state.shape("absent"), state.integer("absent")), (None, None));
    }
}

#[test]
fn training_states_of_both_formats_are_read() {
    for name in ["snapshot.pt", "snapshot_legacy.pt"] {
        let file = read(name);
        assert_eq!(file.root().get("epoch").and_then(Value::integer), Some(2), "{name}");
        let net = file.root().get("net").unwrap().tensors().unwrap();
        assert_eq!(net.shape("conv1.weight"), Some(vec![8, 1, 5, 5]));
        assert_eq!(net.integer("bn2d1.num_batches_tracked"), Some(4));
        assert!(file.root().get("absent").is_none() && file.root().get("epoch").unwrap().get("x").is_none());
    }
}

/// As PyTorch 0.1 wrote them with Python 2: dictionaries of pairs, parameters as their class with a state.
#[test]
fn files_of_the_first_versions_are_read() {
    let plain = tensor(b"K\0", b"(K\x02K\x02t", b"(K\x02K\x01t");
    let parameter =
        [b"ctorch.nn.parameter\nParameter\n", &plain[..], b"\x85R(\x88\x89ccollections\nOrderedDict\n]\x85Rtb"]
            .concat();
    let pair = [&b"]("[..], b"U\x01w", &parameter, b"e"].concat();
    let file = with_pickle(&[b"\x80\x02ccollections\nOrderedDict\n](", &pair[..], b"e\x85R."].concat());
    let file = TorchFile::parse(Path::new("old.pth"), file).unwrap();
    assert_eq!(file.root().tensors().unwrap().floats("w"), Ok(vec![0.0; 4]));
    // Before that, without a tensor at first.
    let oldest = [b"ctorch.nn.parameter\nParameter\n)\x81(", &plain[..], b"NN\x88Ntb"].concat();
    let file = TorchFile::parse(Path::new("oldest.pth"), with_pickle(&dictionary(&oldest))).unwrap();
    assert_eq!(file.root().tensors().unwrap().shape("w"), Some(vec![2, 2]));
}

#[test]
fn what_is_no_dictionary_of_tensors_is_told() {
    let whole_module = problem(files::read(&golden("model.pth")).unwrap());
    assert!(whole_module.contains("torch.nn.modules.container.Sequential"), "{whole_module}");
    assert!(whole_module.contains("save its state_dict instead"), "{whole_module}");
    let sound = with_pickle(&dictionary(&tensor(b"K\0", b"(K\x02K\x02t", b"(K\x02K\x01t")));
    TorchFile::parse(Path::new("file.pth"), sound).unwrap().root().tensors().unwrap();
    let numbers = problem(with_pickle(&[b"\x80\x02}", &text("epoch")[..], b"K\x03s."].concat()));
    assert!(numbers.contains("holds no tensors by their names, but epoch"), "{numbers}");
    assert!(problem(with_pickle(b"\x80\x02]K\x01a.")).contains("holds a list, not tensors by their names"));
    assert!(problem(b"not one".to_vec()).contains("is not a file of PyTorch's"));
    assert!(problem(Vec::new()).contains("is not a file of PyTorch's"));
}

/// Pickles that call something, grow without end, or name what is not theirs.
#[test]
fn hostile_pickles_are_refused_by_name() {
    let nested = |open: &[u8], close: &[u8], deep: usize| [open.repeat(deep), close.repeat(deep)].concat();
    let sized = |sizes: &[u8], strides: &[u8]| dictionary(&tensor(b"K\0", sizes, strides));
    let memo = [b"}q\0".to_vec(), b"]q\x01(h\0h\0h\0h\0e".to_vec()].concat();
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a call by name", b"cos\nsystem\n(X\x02\0\0\0lst".to_vec(), "os.system, which is not read"),
        ("a call of a builtin", b"cbuiltins\neval\n".to_vec(), "builtins.eval"),
        ("STACK_GLOBAL", [&b"\x8c\x05posix\x8c\x06system"[..], b"\x93"].concat(), "posix.system"),
        ("STACK_GLOBAL of numbers", b"K\x01K\x02\x93".to_vec(), "by what is no text"),
        ("a name with a line break", b"ctorch\nFloatStorage\r\n".to_vec(), "torch.FloatStorage\\u{d}"),
        ("INST", b"(ios\nsystem\n".to_vec(), "the operation INST"),
        ("OBJ", b"(cos\nsystem\no".to_vec(), "os.system"),
        ("OBJ of a class that is known", b"(ccollections\nOrderedDict\no".to_vec(), "the operation OBJ"),
        ("NEWOBJ", b"ccollections\nOrderedDict\n)\x81".to_vec(), "the operation NEWOBJ"),
        ("NEWOBJ_EX", b"ccollections\nOrderedDict\n)}\x92".to_vec(), "the operation NEWOBJ_EX"),
        ("EXT1", b"\x82\x01".to_vec(), "the operation EXT1"),
        ("EXT4", b"\x84\x01\0\0\0".to_vec(), "the operation EXT4"),
        ("PERSID", b"Pos.system\n".to_vec(), "the operation PERSID"),
        ("a call of a number", b"K\x01)R".to_vec(), "calls a number"),
        ("a call with a list", b"ccollections\nOrderedDict\n]R".to_vec(), "makes OrderedDict of other things"),
        ("a dictionary of numbers", b"ccollections\nOrderedDict\n]K\x01a\x85R".to_vec(), "makes OrderedDict of other"),
        ("a storage that is called", b"ctorch\nFloatStorage\n)R".to_vec(), "makes Storage(F32) of other things"),
        ("a parameter of a text", b"ctorch._utils\n_rebuild_parameter\n(X\x01\0\0\0xtR".to_vec(), "makes Parameter of"),
        ("the state of a list", b"]}b".to_vec(), "sets the state of a list to a dictionary"),
        ("a state that is a number", b"}K\x01b".to_vec(), "sets the state of a dictionary to a number"),
        (
            "a parameter without a tensor",
            b"ctorch.nn.parameter\nParameter\n)\x81K\x01\x85b".to_vec(),
            "without a tensor",
        ),
        ("a parameter of a number", b"ctorch.nn.parameter\nParameter\nK\x01\x85\x81".to_vec(), "operation NEWOBJ"),
        ("persistent number", b"K\x01Q".to_vec(), "in a way that PyTorch does not"),
        ("persistent module", [&b"("[..], &text("module"), b"ctorch\nFloatStorage\nNNNtQ"].concat(), "in a way that"),
        ("append to a dictionary", b"}K\x01a".to_vec(), "appends to a dictionary"),
        ("keys of a list", b"]K\x01K\x02s".to_vec(), "sets keys of a list"),
        ("a key without a value", b"}(K\x01u".to_vec(), "a key without a value"),
        ("what the memo does not have", b"h\x07".to_vec(), "names an object that it has not made"),
        ("an empty stack", b"a".to_vec(), "takes what it has not made"),
        ("below a mark", b"K\x01(\x85".to_vec(), "takes what it has not made"),
        ("two objects at the end", b"NN".to_vec(), "something else than one object"),
        ("a mark at the end", b"N(".to_vec(), "something else than one object"),
        ("a number without end", [&b"\x8a\xff"[..], &[1; 255]].concat(), "a number of 255 bytes"),
        ("LONG4", b"\x8b\xff\xff\xff\x7f".to_vec(), "the operation LONG4"),
        ("a text of 4 GB", b"X\xff\xff\xff\xff".to_vec(), "a text of 4294967295 bytes"),
        ("a text that is none", b"X\x01\0\0\0\xff".to_vec(), "not in UTF-8"),
        ("BINUNICODE8", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "the operation BINUNICODE8"),
        ("no operation", b"\xff".to_vec(), "the byte 0xff"),
        ("a version to come", b"\x80\x06".to_vec(), "a pickle of version 6"),
        ("lists in lists", [nested(b"]", b"a", 1000)[..1999].to_vec()].concat(), "more than 64 deep"),
        ("tuples in tuples", [b"N".to_vec(), b"\x85".repeat(1000)].concat(), "more than 64 deep"),
        (
            "dictionaries in dictionaries",
            [b"}K\x01".repeat(1000), b"N".to_vec(), b"s".repeat(1000)].concat(),
            "64 deep",
        ),
        ("a dictionary that holds itself", b"}q\0K\x01h\0s".to_vec(), "a dictionary that holds itself"),
        ("a list that holds itself in a tuple", b"]q\0h\0\x85a".to_vec(), "that holds itself"),
        ("names of the memo in a circle", [memo, b"h\0(K\x01h\x01u\x87".to_vec()].concat(), "that holds itself"),
        ("a million of nothing", [&b"("[..], &b"N".repeat(MOST), b"t"].concat(), "more than 1048576 objects"),
        ("a million memories", [&b"N"[..], &b"q\0".repeat(MOST)].concat(), "more than 1048576 objects"),
        ("a negative size", sized(b"(J\xff\xff\xff\xfft", b"(K\x01t"), "gives -1 as a size"),
        ("a negative stride", sized(b"(K\x02t", b"(J\xff\xff\xff\xfft"), "gives -1 as a stride"),
        ("a negative offset", dictionary(&tensor(b"J\xfe\xff\xff\xff", b")", b")")), "gives -2 as an offset"),
        ("a size that is a text", sized(b"(X\x01\0\0\0xt", b"(K\x01t"), "gives a text as a size"),
        (
            "sizes that overflow",
            sized(b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7ft", b"(K\0K\0K\0t"),
            "of shape",
        ),
        ("a huge expansion", sized(b"(J\0\0\0\x7ft", b"(K\0t"), "on a storage of 4 elements"),
        ("strides that leave", sized(b"(K\x02K\x02t", b"(K\x04K\x01t"), "leaves its storage of 4 elements"),
        ("an offset that leaves", dictionary(&tensor(b"K\x04", b"(K\x01t", b"(K\x01t")), "leaves its storage"),
        ("too many dimensions", sized(&[b"(", &b"K\x01".repeat(17)[..], b"t"].concat(), b")"), "17 dimensions"),
        ("sizes without strides", sized(b"(K\x02t", b")"), "1 dimensions and 0 strides"),
    ];
    for (what, pickle, words) in cases {
        let whole = if pickle.starts_with(b"\x80\x02}") { pickle } else { [b"\x80\x02", &pickle[..], b"."].concat() };
        let message = problem(with_pickle(&whole));
        assert!(message.contains(words), "{what}: {message}");
    }
}

/// A list that is named many times is not copied as often.
#[test]
fn what_is_made_of_a_few_bytes_is_counted() {
    let pair = [&b"("[..], &text("k"), b"Nt"].concat();
    let list = [&b"]("[..], &pair.repeat(1000), b"eq\0"].concat();
    let again = b"ccollections\nOrderedDict\nh\0\x85R".repeat(2000);
    let pickle = [&b"\x80\x02("[..], &list, &again, b"t."].concat();
    assert!(pickle.len() < 100_000);
    assert!(problem(with_pickle(&pickle)).contains("more than 1048576 objects"));
}

#[test]
fn hostile_archives_are_refused() {
    let pickle = dictionary(&tensor(b"K\0", b"(K\x04t", b"(K\x01t"));
    let refused = |entries: &[Entry], words: &str| {
        let message = problem(archive(entries));
        assert!(message.contains(words), "{message}");
    };
    let main = || Entry::stored("a/data.pkl", &pickle);
    let storage = || Entry::stored("a/data/0", &[0; 16]);
    refused(&[main(), storage(), main()], "lists the entry a/data.pkl twice");
    refused(&[main(), storage(), Entry::stored("b/data.pkl", &pickle)], "more than one data.pkl");
    refused(&[main()], "has no entry a/data/0");
    refused(&[storage()], "none of PyTorch's");
    refused(&[main(), Entry { bytes: &[0; 12], claimed: 12, ..storage() }], "has 12 bytes of storage 0");
    refused(&[main(), storage(), Entry::stored("a/byteorder", b"big")], "big-endian");
    refused(&[main(), storage(), Entry::stored("a/constants.pkl", b"")], "TorchScript");
    // Bytes that become a thousand times as many, if anybody unpacks them.
    refused(&[main(), Entry { method: 8, claimed: 16 << 20, ..storage() }], "has the entry a/data/0 compressed");
    refused(&[main(), Entry { claimed: 16 << 20, ..storage() }], "longer than the file");
    refused(&[main(), Entry { claimed: 20, ..storage() }], "checksum of a/data/0 is wrong");
    for name in ["../a", "/etc/passwd", "a/../../b", "a\\b", "a//b", "a/./b", "a/"] {
        refused(&[main(), storage(), Entry::stored(name, b"")], "leads elsewhere");
    }
    let sound = archive(&[main(), storage()]);
    TorchFile::parse(Path::new("file.pth"), sound.clone()).unwrap();
    let damaged = |at: usize, byte: u8| {
        let mut bytes = sound.clone();
        bytes[at] ^= byte;
        problem(bytes)
    };
    let first = 30 + "a/data.pkl".len();
    assert!(damaged(first + 10, 1).contains("checksum of a/data.pkl is wrong"), "{}", damaged(first + 10, 1));
    assert!(damaged(31, 1).contains("has another entry than a/data.pkl"));
    let directory = sound.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
    assert!(damaged(directory + 42, 1).contains("where its directory says"), "{}", damaged(directory + 42, 1));
    assert!(damaged(directory + 8, 1).contains("encrypted"));
    let end = sound.len() - 22;
    assert!(damaged(end + 8, 1).contains("several disks"));
    assert!(damaged(end + 16, 1).contains("a directory that ends too soon"));
}

#[test]
fn files_that_are_cut_short_or_changed_are_refused() {
    for name in ["state.pth", "state_legacy.pth"] {
        let whole = files::read(&golden(name)).unwrap();
        for len in 0..whole.len() {
            problem(whole[..len].to_vec());
        }
        // A changed byte is noticed or does no harm.
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x81;
            drop(TorchFile::parse(Path::new(name), changed).and_then(|file| {
                let state = file.root().tensors()?;
                state.names().iter().for_each(|tensor| drop(state.floats(tensor)));
                Ok(())
            }));
        }
    }
    let legacy = files::read(&golden("state_legacy.pth")).unwrap();
    let changed = |from: &[u8], to: &[u8]| {
        let at = legacy.windows(from.len()).position(|part| part == from).unwrap();
        problem([&legacy[..at], to, &legacy[at + from.len()..]].concat())
    };
    assert!(changed(b"M\xe9\x03.", b"M\xea\x03.").contains("another version"));
    assert!(changed(b"little_endianq\x02\x88", b"little_endianq\x02\x89").contains("big-endian"));
    assert!(changed(b"\x80\x02]q", b"\x80\x02}q").contains("appends to a dictionary"));
}
