//! Whether the scans of a JPEG hold what its head promises (ITU-T T.81): all codes are read and none is decoded to pixels.
//!
//! Decoders make up what is missing. Here a scan has exactly its blocks, restart markers come in their order and place, the end follows,
//! and all bits of all coefficients have come.

use std::io::{self, BufRead, Cursor, Read};
use std::ops::Range;

use super::jpeg_bits::{Bits, Checked, DAMAGED, Table};

/// What a file says that has none of its own.
const NO_TABLES: &str = "the JPEG lacks Huffman tables, as frames of MJPEG do; save it as a JPEG of its own";

/// Markers: Huffman tables, the end of the image, a scan, the interval of restarts, the first and the last restart.
const TABLES: u8 = 0xC4;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;
const INTERVAL: u8 = 0xDD;
const RESTART: u8 = 0xD0;
const LAST_RESTART: u8 = 0xD7;

/// The lowest bit that has come of a coefficient of which none has.
const NONE: u8 = 16;

/// What the head of a frame says.
pub(super) struct Frame {
    pub(super) is_progressive: bool,
    /// MCUs across and down of a scan of several components.
    mcus: (usize, usize),
    /// Bytes of the samples of an MCU, all components at full size.
    mcu_bytes: usize,
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Its blocks in an MCU of several components.
    in_mcu: usize,
    /// Its blocks in a scan of it alone.
    blocks: usize,
    /// Of each coefficient, the lowest bit that has come.
    lowest: [u8; 64],
    /// Of each block, a bit for each coefficient that is not 0: what the refining scans of a progressive file depend on. It takes a
    /// sixteenth of the coefficients that the decoder will keep.
    nonzero: Vec<u64>,
}

/// The next marker and its contents, past what is none. T.81, B.1.
fn next_segment(file: &mut impl BufRead) -> io::Result<(u8, Vec<u8>)> {
    fn byte(file: &mut impl Read) -> io::Result<u8> {
        let mut byte = [0];
        file.read_exact(&mut byte).map(|()| byte[0])
    }
    loop {
        file.skip_until(0xFF)?;
        let mut marker = 0xFF;
        while marker == 0xFF {
            marker = byte(file)?;
        }
        match marker {
            // No marker, restarts, the start of the image.
            0x00 | 0x01 | 0xD0..=0xD8 => {}
            END => return Ok((marker, Vec::new())),
            _ => {
                let length = u16::from_be_bytes([byte(file)?, byte(file)?]).saturating_sub(2);
                let mut contents = vec![0; usize::from(length)];
                file.read_exact(&mut contents)?;
                return Ok((marker, contents));
            }
        }
    }
}

/// The frame of a file, if it is sound, and whether its first scan has all of it: else a decoder keeps all
/// coefficients.
pub(super) fn head(file: &mut impl BufRead) -> io::Result<(Option<Frame>, bool)> {
    let mut frame = None;
    loop {
        match next_segment(file)? {
            (marker, contents) if is_frame(marker) => {
                if let Some(kind) = unread_kind(marker) {
                    return Err(io::Error::other(format!("{kind} JPEG; save it as a baseline JPEG or as a PNG")));
                }
                frame = Frame::new(marker, &contents);
            }
            (SCAN | END, scan) => {
                let is_whole = |frame: &Frame| {
                    !frame.is_progressive && scan.first().is_some_and(|&n| usize::from(n) >= frame.components.len())
                };
                let is_whole = frame.as_ref().is_some_and(is_whole);
                return Ok((frame, is_whole));
            }
            _ => {}
        }
    }
}

/// Makes sure that a file is whole. Returns its bytes up to and with the end marker.
///
/// # Errors
/// What is damaged; more than `most` scans.
pub(super) fn check(file: &[u8], most: usize) -> Checked<usize> {
    let mut segments = Cursor::new(file);
    let mut walk = Walk { file, frame: None, tables: Default::default(), interval: 0 };
    let mut scans = 0;
    loop {
        let (marker, contents) = next_segment(&mut segments).map_err(|_| DAMAGED)?;
        let at = usize::try_from(segments.position()).map_err(|_| DAMAGED)?;
        match marker {
            END => {
                let came = |component: &Component| component.lowest.iter().all(|&bit| bit == 0);
                let is_whole = walk.frame.is_some_and(|frame| frame.components.iter().all(came));
                return if is_whole { Ok(at) } else { Err(DAMAGED) };
            }
            SCAN => {
                scans += 1;
                if scans > most {
                    return Err("the JPEG has too many scans");
                }
                segments.set_position(walk.scan(&contents, at)? as u64);
            }
            TABLES => walk.define(&contents)?,
            INTERVAL => {
                let interval = contents.first_chunk().ok_or(DAMAGED)?;
                walk.interval = usize::from(u16::from_be_bytes(*interval));
            }
            _ if is_frame(marker) => {
                let second = walk.frame.replace(Frame::new(marker, &contents).ok_or(DAMAGED)?);
                if second.is_some() {
                    return Err(DAMAGED);
                }
            }
            _ => {}
        }
    }
}

fn is_frame(marker: u8) -> bool {
    matches!(marker, 0xC0..=0xCF) && ![TABLES, 0xC8, 0xCC].contains(&marker)
}

/// The kind of a frame that is not decoded. T.81, table B.1.
fn unread_kind(marker: u8) -> Option<&'static str> {
    match marker {
        0xC0..=0xC2 => None,
        0xC3 => Some("a lossless"),
        0xC9..=0xCB => Some("an arithmetic-coded"),
        _ => Some("a hierarchical"),
    }
}

impl Frame {
    /// Of the contents of a marker of a Huffman-coded frame: precision, rows, columns, and the components, of 3 bytes each.
    fn new(marker: u8, contents: &[u8]) -> Option<Frame> {
        let (&[_, high, low, wide, narrow, n], components) = contents.split_first_chunk()?;
        let components = components.as_chunks::<3>().0;
        let [height, width] = [[high, low], [wide, narrow]].map(|side| usize::from(u16::from_be_bytes(side)));
        let sampling = |&[_, sampling, _]: &[u8; 3]| (usize::from(sampling >> 4), usize::from(sampling & 15));
        let is_sound = |component| matches!(sampling(component), (1..=4, 1..=4));
        if !matches!(marker, 0xC0..=0xC2) || components.len() != usize::from(n) || !components.iter().all(is_sound) {
            return None;
        }
        let across = components.iter().map(|component| sampling(component).0).max()?;
        let down = components.iter().map(|component| sampling(component).1).max()?;
        let component = |component: &[u8; 3]| {
            let (h, v) = sampling(component);
            Component {
                id: component[0],
                in_mcu: h * v,
                blocks: (width * h).div_ceil(8 * across) * (height * v).div_ceil(8 * down),
                lowest: [NONE; 64],
                nonzero: Vec::new(),
            }
        };
        Some(Frame {
            is_progressive: marker == 0xC2,
            mcus: (width.div_ceil(8 * across), height.div_ceil(8 * down)),
            mcu_bytes: 64 * across * down * components.len(),
            components: components.iter().map(component).collect(),
        })
    }

    /// Bytes of a row of MCUs, all components at full size.
    pub(super) fn mcu_row_bytes(&self) -> usize {
        self.mcus.0 * self.mcu_bytes
    }

    /// Coefficients of all components, those outside the image too.
    pub(super) fn coefficients(&self) -> usize {
        let blocks: usize = self.components.iter().map(|component| component.in_mcu).sum();
        64 * self.mcus.0 * self.mcus.1 * blocks
    }
}

/// A file on the way.
struct Walk<'a> {
    file: &'a [u8],
    frame: Option<Frame>,
    /// Of DC and of AC coefficients.
    tables: [[Option<Box<Table>>; 4]; 2],
    /// MCUs between restarts; 0 without.
    interval: usize,
}

impl Walk<'_> {
    /// Takes Huffman tables. T.81, B.2.4.2.
    fn define(&mut self, mut contents: &[u8]) -> Checked<()> {
        while let Some((&[which, ref counts @ ..], rest)) = contents.split_first_chunk::<17>() {
            let n = counts.iter().map(|&n| usize::from(n)).sum();
            let (symbols, rest) = rest.split_at_checked(n).ok_or(DAMAGED)?;
            let tables = self.tables.get_mut(usize::from(which >> 4)).ok_or(DAMAGED)?;
            let table = tables.get_mut(usize::from(which & 15)).ok_or(DAMAGED)?;
            *table = Some(Box::new(Table::new(counts, symbols).ok_or(DAMAGED)?));
            contents = rest;
        }
        if contents.is_empty() { Ok(()) } else { Err(DAMAGED) }
    }

    /// Walks through a scan, whose data begin at `at`. Returns where they end.
    fn scan(&mut self, header: &[u8], at: usize) -> Checked<usize> {
        let Walk { file, frame: Some(frame), tables, interval } = self else { return Err(DAMAGED) };
        if tables.iter().flatten().all(Option::is_none) {
            return Err(NO_TABLES);
        }
        let (&n, rest) = header.split_first().ok_or(DAMAGED)?;
        let (these, rest) = rest.split_at_checked(2 * usize::from(n)).ok_or(DAMAGED)?;
        let &[first, last, bits] = rest else { return Err(DAMAGED) };
        let (first, last, high, low) = match frame.is_progressive {
            true => (usize::from(first), usize::from(last), bits >> 4, bits & 15),
            // Some encoders leave out what is always so.
            false => (0, 63, 0, 0),
        };
        let band_is_sound = match (frame.is_progressive, first) {
            (true, 0) => last == 0,
            (true, _) => n == 1 && first <= last && last < 64,
            (false, _) => true,
        };
        if n == 0 || !band_is_sound || high > 0 && low + 1 != high {
            return Err(DAMAGED);
        }
        let mut parts = Vec::new();
        for &[id, which] in these.as_chunks().0 {
            let index = frame.components.iter().position(|component| component.id == id).ok_or(DAMAGED)?;
            let component = &mut frame.components[index];
            // Each band comes once, and then bit by bit.
            let before = if high == 0 { NONE } else { high };
            let band = &mut component.lowest[first..=last];
            if band.iter().any(|&lowest| lowest != before) {
                return Err(DAMAGED);
            }
            band.fill(low);
            let in_mcu = if n == 1 { 1 } else { component.in_mcu };
            parts.push((index, in_mcu, usize::from(which >> 4), usize::from(which & 15)));
        }
        let alone = &mut frame.components[parts[0].0];
        let mcus = if n == 1 { alone.blocks } else { frame.mcus.0 * frame.mcus.1 };
        let table = |kind: usize, which: usize| tables[kind].get(which).and_then(Option::as_deref).ok_or(DAMAGED);
        if first > 0 && alone.nonzero.is_empty() {
            alone.nonzero.try_reserve_exact(mcus).map_err(|_| "there is no memory for its scans")?;
            alone.nonzero.resize(mcus, 0);
        }
        let mut stretch = |data: &mut Bits, range: Range<usize>| -> Checked<()> {
            match (frame.is_progressive, first, high) {
                (true, 0, 0) => {
                    let parts: Vec<_> =
                        parts.iter().map(|&(_, n, dc, _)| Ok((n, table(0, dc)?))).collect::<Checked<_>>()?;
                    for _ in range {
                        for &(n, dc) in &parts {
                            (0..n).try_for_each(|_| data.dc(dc))?;
                        }
                    }
                    Ok(())
                }
                (true, 0, _) => data.pass(range.len() * parts.iter().map(|part| part.1).sum::<usize>()),
                (true, _, 0) => data.ac_first(&mut alone.nonzero[range], first, last, table(1, parts[0].3)?),
                (true, ..) => data.ac_refining(&mut alone.nonzero[range], first, last, table(1, parts[0].3)?),
                (false, ..) => {
                    let parts = parts.iter().map(|&(_, n, dc, ac)| Ok((n, table(0, dc)?, table(1, ac)?)));
                    let parts: Vec<_> = parts.collect::<Checked<_>>()?;
                    for _ in range {
                        for &(n, dc, ac) in &parts {
                            (0..n).try_for_each(|_| data.dc(dc).and_then(|()| data.ac(ac)))?;
                        }
                    }
                    Ok(())
                }
            }
        };
        let step = if *interval == 0 { mcus.max(1) } else { *interval };
        let mut at = at;
        for (restart, from) in (0..mcus).step_by(step).enumerate() {
            if from > 0 {
                // Any bytes of ones may stand before a marker.
                at += file[at..].iter().take_while(|&&byte| byte == 0xFF).count();
                if file.get(at) != Some(&(RESTART + ((restart - 1) % 8) as u8)) {
                    return Err(DAMAGED);
                }
                at += 1;
            }
            let mut data = Bits::new(file, at);
            stretch(&mut data, from..mcus.min(from + step))?;
            at = data.end()?;
        }
        // Some encoders restart at the end too. What came then would be more than the image has.
        let mut end = at;
        loop {
            end += file[end..].iter().take_while(|&&byte| byte == 0xFF).count();
            match file.get(end) {
                Some(RESTART..=LAST_RESTART) if file.get(end + 1) == Some(&0xFF) => end += 1,
                Some(0 | RESTART..=LAST_RESTART) => return Err(DAMAGED),
                _ => return Ok(at),
            }
        }
    }
}
