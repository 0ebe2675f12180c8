//! Whether the scans of a JPEG hold what its head promises (ITU-T T.81): all codes are read and none is decoded to pixels.
//!
//! Decoders make up what is missing. Here a scan has exactly its blocks, restart markers come in their order and place, the end follows,
//! and all bits of all coefficients have come.

use std::io::{self, BufRead, Cursor, Read};
use std::ops::Range;

/// What is wrong with a file that is none of that.
pub(super) const DAMAGED: &str = "the JPEG data is cut short or damaged";

/// Markers: Huffman tables, the end of the image, a scan, the interval of restarts, the first restart.
const TABLES: u8 = 0xC4;
const END: u8 = 0xD9;
const SCAN: u8 = 0xDA;
const INTERVAL: u8 = 0xDD;
const RESTART: u8 = 0xD0;

/// The lowest bit that has come of a coefficient of which none has.
const NONE: u8 = 16;

/// The bits that a code is looked up by; longer ones are searched.
const AHEAD: u32 = 9;

type Checked<T> = Result<T, &'static str>;

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

/// The frame of a file, if it is of a kind that is decoded, and whether its first scan has all of it: else a decoder keeps all
/// coefficients.
pub(super) fn head(file: &mut impl BufRead) -> io::Result<(Option<Frame>, bool)> {
    let mut frame = None;
    loop {
        match next_segment(file)? {
            (marker, contents) if is_frame(marker) => frame = Frame::new(marker, &contents),
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
            let mut data = Bits { file, at, buffer: 0, left: 0 };
            stretch(&mut data, from..mcus.min(from + step))?;
            at = data.end()?;
        }
        Ok(at)
    }
}

/// A Huffman table, of codes with the value that follows: the lower half of a symbol says how many bits that has.
struct Table {
    /// Of the next [`AHEAD`] bits, the length of their code and its value, and its symbol; 0 where the code is longer.
    short: [u16; 1 << AHEAD],
    /// Of each length, where its codes end, as 16 bits; and what makes a code's place among the symbols.
    ends: [u32; 17],
    places: [i32; 17],
    symbols: [u8; 256],
}

impl Table {
    /// T.81, C.2.
    fn new(counts: &[u8], given: &[u8]) -> Option<Table> {
        let mut symbols = [0; 256];
        symbols.get_mut(..given.len())?.copy_from_slice(given);
        let mut table = Table { short: [0; 1 << AHEAD], ends: [0; 17], places: [0; 17], symbols };
        let (mut code, mut place) = (0_u32, 0_usize);
        for (length, &n) in (1..).zip(counts) {
            code <<= 1;
            table.places[length] = place as i32 - code as i32;
            for &symbol in &symbols[place..place + usize::from(n)] {
                // No code is all ones.
                if code + 1 >= 1 << length {
                    return None;
                }
                if let Some(more) = AHEAD.checked_sub(length as u32) {
                    let same = (code << more) as usize..((code + 1) << more) as usize;
                    table.short[same].fill((length as u16 + u16::from(symbol & 15)) << 8 | u16::from(symbol));
                }
                code += 1;
            }
            place += usize::from(n);
            table.ends[length] = code << (16 - length);
        }
        Some(table)
    }
}

/// The bits of a scan up to the next marker, behind which there are zeros: who reads on looks at `left` after each block.
struct Bits<'a> {
    file: &'a [u8],
    /// What comes into the buffer next.
    at: usize,
    /// The next bits, from the top.
    buffer: u64,
    /// Bits in the buffer; below 0, those that were read beyond the end.
    left: i32,
}

impl Bits<'_> {
    /// Has at least 32 bits, if there are as many.
    #[inline]
    fn fill(&mut self) {
        if !(0..32).contains(&self.left) {
            return;
        }
        if let Some(word) = self.file.get(self.at..).and_then(<[u8]>::first_chunk) {
            let word = u32::from_be_bytes(*word);
            let has_ones = (!word).wrapping_sub(0x0101_0101) & word & 0x8080_8080 != 0;
            if !has_ones {
                self.buffer |= u64::from(word) << (32 - self.left);
                self.left += 32;
                self.at += 4;
                return;
            }
        }
        while self.left < 32 {
            let byte = match self.file.get(self.at..) {
                Some([0xFF, 0, ..]) => {
                    self.at += 1;
                    0xFF
                }
                Some(&[byte, ..]) if byte != 0xFF => byte,
                _ => return,
            };
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.left);
            self.left += 8;
        }
    }

    #[inline]
    fn skip(&mut self, bits: u32) {
        self.buffer <<= bits;
        self.left -= bits as i32;
    }

    /// Reads a code and passes over its value, 31 bits together; without a value, 16 bits more are there.
    #[inline]
    fn code(&mut self, table: &Table) -> Checked<u8> {
        self.fill();
        let short = table.short[(self.buffer >> (64 - AHEAD)) as usize];
        if short > 0 {
            self.skip(u32::from(short >> 8));
            return Ok(short as u8);
        }
        let next = (self.buffer >> 48) as u32;
        let length = (AHEAD as usize + 1..=16).find(|&length| next < table.ends[length]).ok_or(DAMAGED)?;
        let place = table.places[length] + (next >> (16 - length)) as i32;
        let symbol = table.symbols.get(place as usize).copied().ok_or(DAMAGED)?;
        self.skip(length as u32 + u32::from(symbol & 15));
        Ok(symbol)
    }

    /// What is not beyond the end.
    #[inline]
    fn sound(&self) -> Checked<()> {
        if self.left >= 0 { Ok(()) } else { Err(DAMAGED) }
    }

    /// Passes over bits.
    fn pass(&mut self, mut bits: usize) -> Checked<()> {
        while bits > 0 {
            self.fill();
            let some = bits.min(32);
            self.skip(some as u32);
            self.sound()?;
            bits -= some;
        }
        Ok(())
    }

    /// A DC coefficient of up to 11 bits. T.81, F.1.2.1.
    #[inline]
    fn dc(&mut self, table: &Table) -> Checked<()> {
        if self.code(table)? > 11 { Err(DAMAGED) } else { self.sound() }
    }

    /// The AC coefficients of a block. T.81, F.1.2.2.
    #[inline]
    fn ac(&mut self, table: &Table) -> Checked<()> {
        let mut k = 1;
        while k < 64 {
            let symbol = self.code(table)?;
            let (zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                // No other zero is a run.
                if zeros > 0 {
                    return Err(DAMAGED);
                }
                break;
            }
            k += u32::from(zeros) + 1;
        }
        if k > 64 { Err(DAMAGED) } else { self.sound() }
    }

    /// A run of blocks whose band ends: how many, this one included. T.81, G.1.2.2.
    fn run(&mut self, bits: u8) -> usize {
        let more = (self.buffer >> 48 >> (16 - bits)) as usize;
        self.skip(bits.into());
        (1 << bits) + more
    }

    /// The first bits of a band of AC coefficients. T.81, G.1.2.2.
    fn ac_first(&mut self, blocks: &mut [u64], first: usize, last: usize, table: &Table) -> Checked<()> {
        let mut run = 0;
        for block in blocks {
            let mut k = first;
            while run == 0 && k <= last {
                let symbol = self.code(table)?;
                match (symbol >> 4, symbol & 15) {
                    (15, 0) => k += 16,
                    (bits, 0) => run = self.run(bits),
                    (zeros, _) => {
                        k += usize::from(zeros);
                        if k > last {
                            return Err(DAMAGED);
                        }
                        *block |= 1 << k;
                        k += 1;
                    }
                }
            }
            if k > last + 1 {
                return Err(DAMAGED);
            }
            self.sound()?;
            run = run.saturating_sub(1);
        }
        if run == 0 { Ok(()) } else { Err(DAMAGED) }
    }

    /// One more bit of a band of AC coefficients: of those that were 0, which are no more; and one for each other. T.81, G.1.2.3.
    fn ac_refining(&mut self, blocks: &mut [u64], first: usize, last: usize, table: &Table) -> Checked<()> {
        let from = |k: usize| u64::MAX.checked_shl(k as u32).unwrap_or(0);
        let band = from(first) & !from(last + 1);
        let mut run = 0;
        for block in blocks {
            let others = *block & band;
            let mut k = first;
            while run == 0 && k <= last {
                let symbol = self.code(table)?;
                let (zeros, size) = match (symbol >> 4, symbol & 15) {
                    (bits @ 0..15, 0) => {
                        run = self.run(bits);
                        break;
                    }
                    (zeros, size @ 0..=1) => (zeros, size),
                    _ => return Err(DAMAGED),
                };
                // The zero after so many.
                let mut free = band & !others & from(k);
                for _ in 0..zeros {
                    free &= free.wrapping_sub(1);
                }
                if free == 0 {
                    return Err(DAMAGED);
                }
                let place = free.trailing_zeros() as usize;
                self.pass((others & from(k) & !from(place)).count_ones() as usize)?;
                *block |= u64::from(size) << place;
                k = place + 1;
            }
            if run > 0 {
                self.pass((others & from(k)).count_ones() as usize)?;
                run -= 1;
            }
            self.sound()?;
        }
        if run == 0 { Ok(()) } else { Err(DAMAGED) }
    }

    /// Where the marker stands with which the data end, once all but the filling of the last byte is read.
    fn end(mut self) -> Checked<usize> {
        self.fill();
        let is_marker = self.file.get(self.at) == Some(&0xFF);
        if (0..8).contains(&self.left) && is_marker { Ok(self.at) } else { Err(DAMAGED) }
    }
}
