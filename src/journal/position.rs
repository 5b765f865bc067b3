//! The file of a reader's position: a line with the sequence number of the next record, those of the records before it that
//! are not finished, in decimal digits, and the CRC-32 of these.

/// The end of the names of these files.
const EXTENSION: &str = ".position";

/// What stands before the checksum.
const CHECKSUM: &str = " crc32 ";

/// The file of the reader of this name.
pub fn file_name(reader: &str) -> String {
    format!("{reader}{EXTENSION}")
}

/// The reader whose file has this name, if it is one.
pub fn reader(file_name: &str) -> Option<&str> {
    file_name.strip_suffix(EXTENSION)
}

/// Where a reader stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Position {
    /// The sequence number of the next record.
    pub next: u64,
    /// Those of the records before it that are not finished, in order.
    pub unfinished: Vec<u64>,
}

impl Position {
    /// The position that a file with these bytes has; `None` if it is damaged. One that a person wrote needs no checksum.
    pub fn decode(bytes: &[u8]) -> Option<Position> {
        let line = std::str::from_utf8(bytes).ok()?.trim_ascii_end();
        let numbers = match line.split_once(CHECKSUM) {
            Some((numbers, checksum)) => {
                let checksum = u32::from_str_radix(checksum, 16).ok()?;
                (checksum == crc32fast::hash(numbers.as_bytes())).then_some(numbers)?
            }
            None => line,
        };
        let mut numbers =
            numbers.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>().ok()?.into_iter();
        let next = numbers.next()?;
        let unfinished: Vec<u64> = numbers.collect();
        let is_in_order = unfinished.iter().chain([&next]).is_sorted_by(|before, after| before < after);
        is_in_order.then_some(Position { next, unfinished })
    }

    /// The bytes of its file.
    pub fn encode(&self) -> Vec<u8> {
        let numbers = std::iter::once(&self.next).chain(&self.unfinished).map(u64::to_string);
        let numbers = numbers.collect::<Vec<_>>().join(" ");
        let checksum = crc32fast::hash(numbers.as_bytes());
        format!("{numbers}{CHECKSUM}{checksum:08x}\n").into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_any_change_is_noticed() {
        for unfinished in [vec![], vec![7, 9, 1_000]] {
            let position = Position { next: 1_234, unfinished };
            let bytes = position.encode();
            assert_eq!(Position::decode(&bytes), Some(position.clone()));
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut changed = bytes.clone();
                    changed[at] ^= 1 << bit;
                    let decoded = Position::decode(&changed);
                    assert!(decoded.is_none_or(|decoded| decoded == position), "bit {bit} of byte {at}");
                }
            }
        }
    }

    #[test]
    fn a_person_may_write_one() {
        assert_eq!(Position::decode(b"0\n"), Some(Position::default()));
        assert_eq!(Position::decode(b"12 3 4"), Some(Position { next: 12, unfinished: vec![3, 4] }));
        for wrong in ["", "\n", "-1", "12 4 3", "12 3 3", "12 12", "12 3 crc32", "12  3", "0x1"] {
            assert_eq!(Position::decode(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
