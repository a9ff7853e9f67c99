//! Encodes plain values as canonical DAG-CBOR (<https://ipld.io/specs/codecs/dag-cbor/spec/>).

use skytide_core::id::Cid;

/// A value of the DAG-CBOR data model, limited to the types that records use.
#[derive(Clone, Debug)]
pub enum Value {
    /// A non-negative integer.
    Int(u64),
    /// A text.
    Text(String),
    /// A byte string.
    Bytes(Vec<u8>),
    /// True or false.
    Bool(bool),
    /// Nothing.
    Null,
    /// A link to another block.
    Link(Cid),
    /// A list.
    List(Vec<Value>),
    /// A map; the encoder sorts its keys.
    Map(Vec<(&'static str, Value)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl Value {
    /// The encoded bytes.
    pub fn to_bytes(&self) -> Box<[u8]> {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        bytes.into()
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Int(number) => head(0, *number, bytes),
            Self::Text(text) => write_text(text, bytes),
            Self::Bytes(content) => {
                head(2, content.len() as u64, bytes);
                bytes.extend_from_slice(content);
            }
            Self::Bool(value) => bytes.push(if *value { 0xf5 } else { 0xf4 }),
            Self::Null => bytes.push(0xf6),
            Self::Link(cid) => {
                head(6, 42, bytes);
                head(2, Cid::LENGTH as u64 + 1, bytes);
                bytes.push(0);
                bytes.extend_from_slice(&cid.to_bytes());
            }
            Self::List(items) => {
                head(4, items.len() as u64, bytes);
                items.iter().for_each(|item| item.write(bytes));
            }
            Self::Map(entries) => {
                let mut entries: Vec<_> = entries.iter().collect();
                entries.sort_by_key(|(key, _)| (key.len(), *key));
                head(5, entries.len() as u64, bytes);
                for (key, value) in entries {
                    write_text(key, bytes);
                    value.write(bytes);
                }
            }
        }
    }
}

fn write_text(text: &str, bytes: &mut Vec<u8>) {
    head(3, text.len() as u64, bytes);
    bytes.extend_from_slice(text.as_bytes());
}

/// Writes the head of an item: its major type and its argument, in the shortest form.
fn head(major: u8, number: u64, bytes: &mut Vec<u8>) {
    let (low, size) = match number {
        0..24 => (number as u8, 0),
        24..0x100 => (24, 1),
        0x100..0x1_0000 => (25, 2),
        0x1_0000..0x1_0000_0000 => (26, 4),
        _ => (27, 8),
    };
    bytes.push(major << 5 | low);
    bytes.extend_from_slice(&number.to_be_bytes()[8 - size..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_by_length_and_heads_are_short() {
        let value = Value::Map(vec![
            ("text", "é".into()),
            ("n", Value::Int(500)),
            ("list", Value::List(vec![Value::Int(23), Value::Int(24)])),
        ]);
        let expected = b"\xa3\x61n\x19\x01\xf4\x64list\x82\x17\x18\x18\x64text\x62\xc3\xa9";
        assert_eq!(&*value.to_bytes(), expected);
    }
}
