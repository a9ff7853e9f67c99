//! Arguments after the name of a benchmark: `cargo bench -p skytide-tests -- six --rounds 5`.

/// The arguments of this process.
#[derive(Debug)]
pub struct Args(Vec<String>);

impl Args {
    /// The arguments of this process.
    pub fn of_process() -> Self {
        Self(std::env::args().skip(1).collect())
    }

    /// Whether a flag is given.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|arg| arg == name)
    }

    /// The value after an option.
    pub fn text(&self, name: &str) -> Option<&str> {
        let at = self.0.iter().position(|arg| arg == name)?;
        let value = self.0.get(at + 1);
        Some(value.unwrap_or_else(|| panic!("{name} needs a value")))
    }

    /// The value of an option as a number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.text(name).map(|text| number(name, text))
    }

    /// The value of an option as numbers that are separated by commas.
    pub fn numbers(&self, name: &str) -> Option<Vec<u64>> {
        let text = self.text(name)?;
        Some(text.split(',').map(|text| number(name, text)).collect())
    }
}

/// A number such as `1200000`, `50M` (decimal) or `1536MiB` (binary).
fn number(name: &str, text: &str) -> u64 {
    let units = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("K", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
    ];
    let unit = units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (digits, factor) = unit.unwrap_or((text, 1));
    let number: u64 = digits
        .parse()
        .unwrap_or_else(|_| panic!("{name} needs a number such as 1000, 50M or 2GiB, not {text}"));
    number * factor
}
