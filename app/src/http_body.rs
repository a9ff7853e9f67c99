//! Reads the body of a response within a limit.

use reqwest::Response;

/// Reads a body of at most `bytes_max` bytes.
///
/// # Errors
///
/// The body is longer, or the connection failed. The error contains no URL, which may have a
/// password.
pub async fn read_body(
    mut response: Response,
    bytes_max: usize,
) -> Result<Vec<u8>, Box<dyn std::error::Error + Send + Sync>> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(reqwest::Error::without_url)?
    {
        if bytes.len() + chunk.len() > bytes_max {
            return Err("the response is too large".into());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
