//! The syntax rules of the protocol, as functions on text (<https://atproto.com/specs>: did,
//! handle, nsid, record-key).

/// Whether `text` is a DID: `did:method:id`, at most 2,048 bytes.
pub fn is_did(text: &str) -> bool {
    let Some((method, id)) = text
        .strip_prefix("did:")
        .and_then(|rest| rest.split_once(':'))
    else {
        return false;
    };
    let id_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"._:%-".contains(&byte);
    text.len() <= 2_048
        && !method.is_empty()
        && method.bytes().all(|byte| byte.is_ascii_lowercase())
        && id.bytes().all(id_byte)
        && !id.is_empty()
        && !id.ends_with([':', '%'])
}

/// Whether `text` is an NSID: a reversed domain of at least two labels, and a name that has no
/// hyphen and does not start with a digit.
pub fn is_nsid(text: &str) -> bool {
    let Some((authority, name)) = text.rsplit_once('.') else {
        return false;
    };
    text.len() <= 317
        && authority.len() <= 253
        && authority.contains('.')
        && authority.split('.').all(is_label)
        && authority.as_bytes()[0].is_ascii_alphabetic()
        && (1..=63).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphabetic()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Whether `text` is a handle: a domain name of at least two labels and at most 253 bytes, whose
/// last label starts with a letter.
pub fn is_handle(text: &str) -> bool {
    let Some((_, top)) = text.rsplit_once('.') else {
        return false;
    };
    text.len() <= 253 && text.split('.').all(is_label) && top.as_bytes()[0].is_ascii_alphabetic()
}

/// Whether `text` is a label of a domain name.
fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether `text` is a record key: 1 to 512 characters of `A-Za-z0-9._:~-`, and neither `.` nor
/// `..`.
pub fn is_rkey(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'~' | b'-');
    (1..=512).contains(&text.len()) && text.bytes().all(allowed) && text != "." && text != ".."
}
