//! Prints the texts of new posts from the log on NATS:
//! `cargo run --package skytide-nats --example consume_nats -- nats://127.0.0.1:4222`.

use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use ciborium::Value;
use futures_util::StreamExt;

#[tokio::main]
async fn main() -> Result<(), async_nats::Error> {
    let url = std::env::args()
        .nth(1)
        .unwrap_or("127.0.0.1:4222".to_owned());
    let stream = async_nats::jetstream::new(async_nats::connect(url).await?)
        .get_stream("skytide")
        .await?;
    let filter_subject = "firehose.*.app.bsky.feed.post".to_owned();
    let deliver_policy = DeliverPolicy::New;
    let config = OrderedConfig {
        filter_subject,
        deliver_policy,
        ..OrderedConfig::default()
    };
    let mut messages = stream.create_consumer(config).await?.messages().await?;
    while let Some(message) = messages.next().await.transpose()? {
        let mut events = &message.payload[..]; // one CBOR map after the other
        while !events.is_empty() {
            let event: Value = ciborium::from_reader(&mut events)?;
            let Some(Value::Bytes(record)) = field(&event, "record") else {
                continue;
            };
            let post: Value = ciborium::from_reader(&record[..])?;
            println!(
                "{}",
                field(&post, "text")
                    .and_then(Value::as_text)
                    .unwrap_or_default()
            );
        }
    }
    Ok(())
}

fn field<'a>(map: &'a Value, name: &str) -> Option<&'a Value> {
    map.as_map()?
        .iter()
        .find(|(key, _)| key.as_text() == Some(name))
        .map(|(_, value)| value)
}
