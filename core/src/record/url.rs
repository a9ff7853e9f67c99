//! Extraction of the host from a link.

/// The host of an `http` or `https` URL, as written, without user and port. `None` if the text is
/// not such a URL or has no host.
pub(super) fn host(url: &str) -> Option<&str> {
    let (scheme, rest) = url.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("https") && !scheme.eq_ignore_ascii_case("http") {
        return None;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let host_and_port = authority.rsplit('@').next()?;
    let host = match host_and_port.find(']') {
        Some(end) if host_and_port.starts_with('[') => &host_and_port[..=end],
        _ => host_and_port.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_url_is_extracted_as_written() {
        let cases = [
            ("https://example.com", Some("example.com")),
            ("http://WWW.Example.com:8080/a?b#c", Some("WWW.Example.com")),
            ("HTTPS://user:pa@ss@example.com/@x", Some("example.com")),
            ("https://[2001:db8::1]:443/", Some("[2001:db8::1]")),
            ("https://münchen.example?q=:", Some("münchen.example")),
            ("https://example.com\\@evil.example/", Some("example.com")),
            ("https:///path", None),
            ("https://:80/", None),
            ("ftp://example.com/", None),
            ("mailto:a@example.com", None),
            ("example.com/https://example.org", None),
            ("", None),
        ];
        for (url, expected) in cases {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
