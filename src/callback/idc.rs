//! The names of data centres: LINE Planet names an IDC by the country in which it is, as ISO 3166-1 alpha-2.

/// The officially assigned codes of ISO 3166-1 alpha-2, in their order. Source: the standard's maintenance agency
/// (<https://www.iso.org/iso-3166-country-codes.html>).
#[rustfmt::skip]
const ASSIGNED_CODES: [&str; 249] = [
    "AD", "AE", "AF", "AG", "AI", "AL", "AM", "AO", "AQ", "AR", "AS", "AT", "AU", "AW", "AX", "AZ",
    "BA", "BB", "BD", "BE", "BF", "BG", "BH", "BI", "BJ", "BL", "BM", "BN", "BO", "BQ", "BR", "BS",
    "BT", "BV", "BW", "BY", "BZ", "CA", "CC", "CD", "CF", "CG", "CH", "CI", "CK", "CL", "CM", "CN",
    "CO", "CR", "CU", "CV", "CW", "CX", "CY", "CZ", "DE", "DJ", "DK", "DM", "DO", "DZ", "EC", "EE",
    "EG", "EH", "ER", "ES", "ET", "FI", "FJ", "FK", "FM", "FO", "FR", "GA", "GB", "GD", "GE", "GF",
    "GG", "GH", "GI", "GL", "GM", "GN", "GP", "GQ", "GR", "GS", "GT", "GU", "GW", "GY", "HK", "HM",
    "HN", "HR", "HT", "HU", "ID", "IE", "IL", "IM", "IN", "IO", "IQ", "IR", "IS", "IT", "JE", "JM",
    "JO", "JP", "KE", "KG", "KH", "KI", "KM", "KN", "KP", "KR", "KW", "KY", "KZ", "LA", "LB", "LC",
    "LI", "LK", "LR", "LS", "LT", "LU", "LV", "LY", "MA", "MC", "MD", "ME", "MF", "MG", "MH", "MK",
    "ML", "MM", "MN", "MO", "MP", "MQ", "MR", "MS", "MT", "MU", "MV", "MW", "MX", "MY", "MZ", "NA",
    "NC", "NE", "NF", "NG", "NI", "NL", "NO", "NP", "NR", "NU", "NZ", "OM", "PA", "PE", "PF", "PG",
    "PH", "PK", "PL", "PM", "PN", "PR", "PS", "PT", "PW", "PY", "QA", "RE", "RO", "RS", "RU", "RW",
    "SA", "SB", "SC", "SD", "SE", "SG", "SH", "SI", "SJ", "SK", "SL", "SM", "SN", "SO", "SR", "SS",
    "ST", "SV", "SX", "SY", "SZ", "TC", "TD", "TF", "TG", "TH", "TJ", "TK", "TL", "TM", "TN", "TO",
    "TR", "TT", "TV", "TW", "TZ", "UA", "UG", "UM", "US", "UY", "UZ", "VA", "VC", "VE", "VG", "VI",
    "VN", "VU", "WF", "WS", "YE", "YT", "ZA", "ZM", "ZW",
];

/// The code as it stands in the table of the assigned ones, or `None` for anything else.
pub fn assigned_code(text: &str) -> Option<&'static str> {
    let &[first, second] = text.as_bytes() else { return None };
    let letter = |byte: u8| usize::from(byte.wrapping_sub(b'A'));
    *BY_LETTERS.get(letter(first))?.get(letter(second))?
}

/// The same codes by their letters, since each call is asked for its own twice.
static BY_LETTERS: [[Option<&str>; 26]; 26] = {
    let mut by_letters = [[None; 26]; 26];
    let mut at = 0;
    while at < ASSIGNED_CODES.len() {
        let letters = ASSIGNED_CODES[at].as_bytes();
        by_letters[(letters[0] - b'A') as usize][(letters[1] - b'A') as usize] = Some(ASSIGNED_CODES[at]);
        at += 1;
    }
    by_letters
};

/// Whether a text can be configured as the name of an IDC: up to 16 ASCII letters, digits, dashes and underscores.
pub fn is_usual_name(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assigned_codes_are_found_and_nothing_else_is() {
        for code in ["AD", "JP", "KR", "TH", "TW", "US", "ZW"] {
            assert_eq!(assigned_code(code), Some(code));
        }
        for other in ["", "kr", "KRX", "ZZ", "XK", "EU", "UK", "K", "대한"] {
            assert_eq!(assigned_code(other), None, "{other}");
        }
        assert!(ASSIGNED_CODES.iter().all(|code| assigned_code(code) == Some(*code)));
    }
}
