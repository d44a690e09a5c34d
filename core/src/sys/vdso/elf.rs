//! Finds a function in the image of a shared library, as the kernel maps the vDSO.
//!
//! **What.** `extent` tells how long an image is, `find_symbol` where in it a function starts. Both take bytes.
//!
//! **Invariants.** *INV-ELF-1*: every number read from the image is an untrusted one: each access goes through
//! [`slice::get`], each sum is checked, each loop is bounded by the length of the image. A strange image gives
//! `None`. *INV-ELF-2*: an offset that [`find_symbol`] returns lies in the image, in an executable segment.
//!
//! **Why this shape.** Bytes in, an offset out: no pointer is made here, so that truncated and damaged images can be
//! thrown at it. A vDSO has a dozen symbols, so they are walked; the hash tables only say how many there are.
//! 64-bit little-endian ELF is all that the supported machines have.

#![forbid(unsafe_code)]

/// A loaded part of the file.
const PT_LOAD: u32 = 1;
/// The dynamic section.
const PT_DYNAMIC: u32 = 2;
/// This segment may be executed.
const PF_X: u32 = 1;

const DT_NULL: u64 = 0;
const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// A symbol that is a plain label: some vDSOs are assembled by hand and say no more.
const STT_NOTYPE: u8 = 0;
const STT_FUNC: u8 = 2;
const STB_LOCAL: u8 = 0;
const SHN_UNDEF: u16 = 0;

const PROGRAM_HEADER_SIZE: usize = 56;
const DYNAMIC_ENTRY_SIZE: usize = 16;
const SYMBOL_SIZE: usize = 24;

/// Magic number, 64-bit, little-endian.
const IDENT: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];

/// The longest image believed in. Real ones have two to thirty pages.
pub(super) const EXTENT_MAX: usize = 1 << 20;

fn bytes<const N: usize>(image: &[u8], at: usize) -> Option<[u8; N]> {
    image.get(at..)?.first_chunk().copied()
}

fn read_u16(image: &[u8], at: usize) -> Option<u16> {
    bytes(image, at).map(u16::from_le_bytes)
}

fn read_u32(image: &[u8], at: usize) -> Option<u32> {
    bytes(image, at).map(u32::from_le_bytes)
}

fn read_u64(image: &[u8], at: usize) -> Option<u64> {
    bytes(image, at).map(u64::from_le_bytes)
}

/// `base + index * size`, if that is a number.
fn element(base: usize, index: usize, size: usize) -> Option<usize> {
    base.checked_add(index.checked_mul(size)?)
}

/// One program header.
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    memory_len: u64,
}

/// The program headers, up to the first that can't be read.
fn segments(image: &[u8]) -> impl Iterator<Item = Segment> {
    let table = read_u64(image, 32).map_or(usize::MAX, |at| at as usize);
    let well_formed = image.starts_with(&IDENT)
        && read_u16(image, 54).is_some_and(|size| size as usize == PROGRAM_HEADER_SIZE);
    let count = read_u16(image, 56).filter(|_| well_formed).unwrap_or(0);
    (0..count as usize).map_while(move |index| {
        let at = element(table, index, PROGRAM_HEADER_SIZE)?;
        let header: [u8; PROGRAM_HEADER_SIZE] = bytes(image, at)?;
        Some(Segment {
            kind: read_u32(&header, 0)?,
            flags: read_u32(&header, 4)?,
            offset: read_u64(&header, 8)?,
            address: read_u64(&header, 16)?,
            memory_len: read_u64(&header, 40)?,
        })
    })
}

/// What to take from an address in the image's own terms to get an offset: old vDSOs are linked high up.
fn bias(image: &[u8]) -> Option<u64> {
    segments(image)
        .find(|segment| segment.kind == PT_LOAD)
        .map(|first| first.address.wrapping_sub(first.offset))
}

/// How many bytes the image that starts with `head` takes in memory; `None` if `head` starts no image.
///
/// `head` must hold the program headers; the image may be longer than it.
pub(super) fn extent(head: &[u8]) -> Option<usize> {
    let bias = bias(head)?;
    segments(head)
        .filter(|segment| segment.kind == PT_LOAD)
        .map(|segment| {
            let start = segment.address.wrapping_sub(bias);
            start
                .checked_add(segment.memory_len)
                .map(|end| end as usize)
        })
        .try_fold(0, |longest: usize, end| Some(longest.max(end?)))
        .filter(|&end| end > 0 && end <= EXTENT_MAX)
}

/// Where the tables of the dynamic section are, as offsets.
struct Tables {
    strings: usize,
    symbols: usize,
    symbol_count: usize,
}

impl Tables {
    fn find(image: &[u8], bias: u64) -> Option<Self> {
        let dynamic = segments(image).find(|segment| segment.kind == PT_DYNAMIC)?;
        let start = dynamic.address.wrapping_sub(bias) as usize;
        let entries = dynamic.memory_len as usize / DYNAMIC_ENTRY_SIZE;
        let (mut strings, mut symbols, mut hash, mut gnu_hash) = (None, None, None, None);
        for index in 0..entries {
            let at = element(start, index, DYNAMIC_ENTRY_SIZE)?;
            let value = Some(read_u64(image, at.checked_add(8)?)?.wrapping_sub(bias) as usize);
            match read_u64(image, at)? {
                DT_NULL => break,
                DT_STRTAB => strings = value,
                DT_SYMTAB => symbols = value,
                DT_HASH => hash = value,
                DT_GNU_HASH => gnu_hash = value,
                _ => {}
            }
        }
        let symbol_count = match (hash, gnu_hash) {
            (Some(hash), _) => read_u32(image, hash.checked_add(4)?)? as usize,
            (None, Some(gnu_hash)) => gnu_symbol_count(image, gnu_hash)?,
            (None, None) => return None,
        };
        Some(Self {
            strings: strings?,
            symbols: symbols?,
            symbol_count,
        })
    }
}

/// Counts symbols by a GNU hash table, which does not say: one more than the end of the chain that starts last.
fn gnu_symbol_count(image: &[u8], table: usize) -> Option<usize> {
    let bucket_count = read_u32(image, table)? as usize;
    let first_hashed = read_u32(image, table.checked_add(4)?)? as usize;
    let bloom_words = read_u32(image, table.checked_add(8)?)? as usize;
    let buckets = element(table.checked_add(16)?, bloom_words, 8)?;
    let chains = element(buckets, bucket_count, 4)?;

    let mut last = 0;
    for index in 0..bucket_count {
        last = last.max(read_u32(image, element(buckets, index, 4)?)? as usize);
    }
    if last < first_hashed {
        return Some(first_hashed); // every chain is empty
    }
    // An odd entry ends a chain. The read fails at the end of the image, so this ends too (INV-ELF-1).
    while read_u32(image, element(chains, last - first_hashed, 4)?)? & 1 == 0 {
        last = last.checked_add(1)?;
    }
    last.checked_add(1)
}

/// The offset of the defined function `name` in `image`, whose length is what [`extent`] says; `None` if it has none.
///
/// Versions of symbols are not looked at: the vDSO has one of each.
pub(super) fn find_symbol(image: &[u8], name: &[u8]) -> Option<usize> {
    let bias = bias(image)?;
    let tables = Tables::find(image, bias)?;
    for index in 0..tables.symbol_count.min(image.len() / SYMBOL_SIZE) {
        let at = element(tables.symbols, index, SYMBOL_SIZE)?;
        let symbol: [u8; SYMBOL_SIZE] = bytes(image, at)?;
        let text = tables.strings.checked_add(read_u32(&symbol, 0)? as usize)?;
        if !is_defined_function(&symbol) || !is_text(image, text, name) {
            continue;
        }
        let offset = read_u64(&symbol, 8)?.wrapping_sub(bias);
        return is_executable(image, bias, offset).then_some(offset as usize);
    }
    None
}

fn is_defined_function(symbol: &[u8; SYMBOL_SIZE]) -> bool {
    let (kind, binding) = (symbol[4] & 0xf, symbol[4] >> 4);
    let section = u16::from_le_bytes([symbol[6], symbol[7]]);
    matches!(kind, STT_FUNC | STT_NOTYPE) && binding != STB_LOCAL && section != SHN_UNDEF
}

/// Whether the zero-terminated text at `at` is `name`.
fn is_text(image: &[u8], at: usize, name: &[u8]) -> bool {
    image
        .get(at..)
        .and_then(|tail| tail.strip_prefix(name))
        .is_some_and(|rest| rest.first() == Some(&0))
}

/// INV-ELF-2.
fn is_executable(image: &[u8], bias: u64, offset: u64) -> bool {
    offset < image.len() as u64
        && segments(image).any(|segment| {
            let start = segment.address.wrapping_sub(bias);
            segment.kind == PT_LOAD
                && segment.flags & PF_X != 0
                && offset
                    .checked_sub(start)
                    .is_some_and(|into| into < segment.memory_len)
        })
}

#[cfg(test)]
pub(super) mod tests;
