//! The writes of Skytide's dataflow: consecutive commits from a fixed seed.

/// Tables 1 to 19 are views; this table is the second order of `INTERACTIONS`.
pub const SECOND: u8 = 20;
/// Number of tables, which are numbered from 0.
pub const TABLES: u8 = 21;

const POSTS: u8 = 1;
const LISTS: u8 = 2;
const HASHTAGS: u8 = 3;
const INTERACTIONS: u8 = 11;
const ACTORS: u8 = 14;
const ACTIVITY: u8 = 16;
const ACCOUNTS: u8 = 17;

/// A row to write: table, key, columns.
pub type Row = (u8, Vec<u8>, Vec<u8>);

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A random number below `end`, all with equal probability.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A random number below `end` by Zipf's law, `i` with a probability of about 1 / i: a few are
    /// hot, most are cold.
    pub fn zipf(&mut self, end: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        ((end.max(1) as f64).powf(unit) as u64 - 1).min(end.saturating_sub(1))
    }
}

fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// The stream of commits.
pub struct Pattern {
    random: Random,
    posts: u64,
    accounts: u64,
    commits: u64,
}

impl Pattern {
    /// An empty network.
    pub fn new() -> Self {
        Self {
            random: Random(7),
            posts: 1,
            accounts: 1_000,
            commits: 0,
        }
    }

    /// The next commit: about `rows` rows including 20 lists, sorted as the sink sorts them.
    pub fn commit(&mut self, rows: usize) -> Vec<Row> {
        self.commits += 1;
        let mut commit = Vec::with_capacity(rows + 64);
        while commit.len() < rows {
            match self.random.below(100) {
                0..40 => commit.push(self.post()),
                40..70 => commit.push(self.actor()),
                70..88 => self.interaction(&mut commit),
                88..93 => commit.push(self.tag()),
                93..98 => commit.push(self.account()),
                _ => commit.push(self.activity()),
            }
        }
        for list in 0..20 {
            let key = vec![list / 4, list % 4, 0];
            let size = 3_000 + self.random.below(6_000) as usize;
            commit.push((LISTS, key, self.columns(size)));
        }
        commit.sort_unstable();
        commit.dedup_by(|a, b| (a.0, &a.1) == (b.0, &b.1));
        commit
    }

    /// The key of a random post that was written, more likely a recent one.
    pub fn some_post(random: &mut Random, posts: u64) -> (u8, Vec<u8>) {
        (POSTS, post_key(posts - 1 - random.zipf(posts)))
    }

    /// Number of posts written so far.
    pub fn posts(&self) -> u64 {
        self.posts
    }

    /// Half of the rows of posts are new; the others are mostly recent.
    fn post(&mut self) -> Row {
        let new = self.random.below(2) == 0;
        self.posts += u64::from(new);
        let age = if new { 0 } else { self.random.zipf(self.posts) };
        (POSTS, post_key(self.posts - 1 - age), self.columns(12))
    }

    fn actor(&mut self) -> Row {
        let account = self.some_account();
        (ACTORS, did(account), self.columns(14))
    }

    fn interaction(&mut self, commit: &mut Vec<Row>) {
        let (author, subject) = (self.some_account(), self.some_account());
        let day = 20_000_u32 + (self.commits / 100) as u32;
        let key = |a, b| [did(a).as_slice(), &day.to_be_bytes(), &did(b)].concat();
        let columns = self.columns(5);
        commit.push((INTERACTIONS, key(author, subject), columns.clone()));
        commit.push((SECOND, key(subject, author), columns));
    }

    fn tag(&mut self) -> Row {
        let tag = self.random.zipf(1_000_000);
        let name = format!("tag{:x}\0", mix(tag) >> (16 + tag % 24));
        (HASHTAGS, name.into_bytes(), self.columns(12))
    }

    fn account(&mut self) -> Row {
        let account = self.some_account();
        (ACCOUNTS, did(account), self.columns(120))
    }

    fn activity(&mut self) -> Row {
        let (minute, kind) = (self.commits as u32 / 60, self.random.below(20));
        let key = [&[2][..], &minute.to_be_bytes(), &kind.to_be_bytes()].concat();
        (ACTIVITY, key, self.columns(24))
    }

    /// One account in 20 is new; the others follow Zipf's law.
    fn some_account(&mut self) -> u64 {
        if self.random.below(20) == 0 {
            self.accounts += 1;
            return self.accounts - 1;
        }
        self.random.zipf(self.accounts)
    }

    /// Columns as postcard encodes them: half small numbers, half noise, after the epoch.
    fn columns(&mut self, size: usize) -> Vec<u8> {
        let noise = self.random.next();
        let mut columns = (1_000_000 + self.commits).to_be_bytes()[4..].to_vec();
        columns.extend((0..size).map(|i| match i % 2 {
            0 => (noise % 3) as u8,
            _ => (mix(noise + (i / 8) as u64) >> (i % 8 * 8)) as u8,
        }));
        columns
    }
}

/// 16 bytes, distributed like a did:plc.
fn did(account: u64) -> Vec<u8> {
    let (high, low) = (mix(account).to_be_bytes(), mix(!account).to_be_bytes());
    [&[2][..], &high, &low[..7]].concat()
}

/// 30 bytes: the author, the time as 13 characters, a suffix.
fn post_key(post: u64) -> Vec<u8> {
    let time = format!("3m{:011}", post * 77);
    [
        &did(mix(post) % (post / 20 + 1_000))[..],
        time.as_bytes(),
        &[0],
    ]
    .concat()
}
