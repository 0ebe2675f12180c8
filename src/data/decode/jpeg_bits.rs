//! The Huffman-coded data of a JPEG's scans (ITU-T T.81, C, F and G): codes are read, and their values passed over.

/// What is wrong with data that are none of that, or do not hold what a head promises.
pub(super) const DAMAGED: &str = "the JPEG data is cut short or damaged";

/// The bits that a code is looked up by; longer ones are searched.
const AHEAD: u32 = 9;

pub(super) type Checked<T> = Result<T, &'static str>;

/// A Huffman table, of codes with the value that follows: the lower half of a symbol says how many bits that has.
pub(super) struct Table {
    /// Of the next [`AHEAD`] bits, the length of their code and its value, and its symbol; 0 where the code is longer.
    short: [u16; 1 << AHEAD],
    /// Of each length, where its codes end, as 16 bits; and what makes a code's place among the symbols.
    ends: [u32; 17],
    places: [i32; 17],
    symbols: [u8; 256],
}

impl Table {
    /// T.81, C.2.
    pub(super) fn new(counts: &[u8], given: &[u8]) -> Option<Table> {
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
pub(super) struct Bits<'a> {
    file: &'a [u8],
    /// What comes into the buffer next.
    at: usize,
    /// The next bits, from the top.
    buffer: u64,
    /// Bits in the buffer; below 0, those that were read beyond the end.
    left: i32,
}

impl<'a> Bits<'a> {
    /// From a place in a file on.
    pub(super) fn new(file: &'a [u8], at: usize) -> Bits<'a> {
        Bits { file, at, buffer: 0, left: 0 }
    }

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
    pub(super) fn pass(&mut self, mut bits: usize) -> Checked<()> {
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
    pub(super) fn dc(&mut self, table: &Table) -> Checked<()> {
        if self.code(table)? > 11 { Err(DAMAGED) } else { self.sound() }
    }

    /// The AC coefficients of a block. T.81, F.1.2.2.
    #[inline]
    pub(super) fn ac(&mut self, table: &Table) -> Checked<()> {
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
    pub(super) fn ac_first(&mut self, blocks: &mut [u64], first: usize, last: usize, table: &Table) -> Checked<()> {
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
    pub(super) fn ac_refining(&mut self, blocks: &mut [u64], first: usize, last: usize, table: &Table) -> Checked<()> {
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
    pub(super) fn end(mut self) -> Checked<usize> {
        self.fill();
        let is_marker = self.file.get(self.at) == Some(&0xFF);
        if (0..8).contains(&self.left) && is_marker { Ok(self.at) } else { Err(DAMAGED) }
    }
}
