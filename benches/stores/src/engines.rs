//! Each engine as the store would use it: one table per view, one transaction per commit, reads
//! from a snapshot.

use std::path::Path;

use fjall::{KeyspaceCreateOptions, PersistMode, Readable};
use redb::ReadableDatabase;

use crate::pattern::{Row, TABLES};

/// Memory of an engine's cache of blocks or pages.
const CACHE_BYTES: usize = 64 << 20;

/// An engine that writes commits.
pub trait Engine {
    /// Writes all rows atomically. If `sync`, they are durable on return. Otherwise a power cut may
    /// lose them: fjall and SQLite hand them to the operating system, and redb keeps them in memory
    /// until the next durable commit.
    fn commit(&mut self, rows: Vec<Row>, sync: bool);

    /// A reader for use by another thread.
    fn reader(&self) -> Box<dyn Reader>;
}

/// Reads from a new snapshot at each call.
pub trait Reader: Send {
    /// The length of the row in bytes, if it exists.
    fn get(&mut self, table: u8, key: &[u8]) -> Option<usize>;

    /// The total length in bytes of the first 100 rows from `key` on, or of all if there are fewer.
    fn scan(&mut self, table: u8, key: &[u8]) -> usize;
}

/// Opens or creates a database with the engine of this name.
pub fn open(name: &str, folder: &Path) -> Box<dyn Engine> {
    match name {
        "fjall" => Box::new(Fjall::open(folder, false)),
        "fjall-one" => Box::new(Fjall::open(folder, true)),
        "redb" => Box::new(Redb::open(folder)),
        "sqlite" => Box::new(Sqlite::open(folder)),
        _ => panic!("no engine is named {name:?}"),
    }
}

/// fjall: one keyspace per view, or a single keyspace whose keys begin with the number of the view.
#[derive(Clone)]
struct Fjall {
    database: fjall::Database,
    keyspaces: Vec<fjall::Keyspace>,
}

impl Fjall {
    fn open(folder: &Path, one: bool) -> Self {
        let database = fjall::Database::builder(folder)
            .cache_size(CACHE_BYTES as u64)
            .max_journaling_size(64 << 20)
            .worker_threads(2)
            .open()
            .unwrap();
        let options = || KeyspaceCreateOptions::default().max_memtable_size(16 << 20);
        let keyspaces = (0..if one { 1 } else { TABLES })
            .map(|table| database.keyspace(&format!("view{table}"), options).unwrap())
            .collect();
        Self {
            database,
            keyspaces,
        }
    }

    fn locate(&self, table: u8, key: &[u8]) -> (&fjall::Keyspace, Vec<u8>) {
        match &self.keyspaces[..] {
            [one] => (one, [&[table], key].concat()),
            many => (&many[table as usize], key.to_vec()),
        }
    }
}

impl Engine for Fjall {
    fn commit(&mut self, rows: Vec<Row>, sync: bool) {
        let mut batch = self.database.batch();
        for (table, key, columns) in rows {
            let (keyspace, key) = self.locate(table, &key);
            batch.insert(keyspace, key, columns);
        }
        let mode = if sync {
            PersistMode::SyncData
        } else {
            PersistMode::Buffer
        };
        batch.durability(Some(mode)).commit().unwrap();
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(self.clone())
    }
}

impl Reader for Fjall {
    fn get(&mut self, table: u8, key: &[u8]) -> Option<usize> {
        let (keyspace, key) = self.locate(table, key);
        let row = self.database.snapshot().get(keyspace, key).unwrap();
        row.map(|row| row.len())
    }

    fn scan(&mut self, table: u8, key: &[u8]) -> usize {
        let (keyspace, key) = self.locate(table, key);
        let rows = self.database.snapshot().range(keyspace, key..);
        rows.take(100).map(|row| row.value().unwrap().len()).sum()
    }
}

/// redb: a B-tree for each table in one file.
struct Redb(std::sync::Arc<redb::Database>);

type Bytes = &'static [u8];

fn table_name(table: u8) -> String {
    format!("view{table}")
}

impl Redb {
    fn open(folder: &Path) -> Self {
        let database = redb::Builder::new()
            .set_cache_size(CACHE_BYTES)
            .create(folder.join("redb"))
            .unwrap();
        let transaction = database.begin_write().unwrap();
        for table in 0..TABLES {
            let name = table_name(table);
            transaction
                .open_table(redb::TableDefinition::<Bytes, Bytes>::new(&name))
                .unwrap();
        }
        transaction.commit().unwrap();
        Self(database.into())
    }
}

impl Engine for Redb {
    fn commit(&mut self, rows: Vec<Row>, sync: bool) {
        let mut transaction = self.0.begin_write().unwrap();
        if !sync {
            transaction.set_durability(redb::Durability::None).unwrap();
        }
        for rows in rows.chunk_by(|a, b| a.0 == b.0) {
            let name = table_name(rows[0].0);
            let definition = redb::TableDefinition::<Bytes, Bytes>::new(&name);
            let mut table = transaction.open_table(definition).unwrap();
            for (_, key, columns) in rows {
                table.insert(&key[..], &columns[..]).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Self(self.0.clone()))
    }
}

impl Reader for Redb {
    fn get(&mut self, table: u8, key: &[u8]) -> Option<usize> {
        let name = table_name(table);
        let definition = redb::TableDefinition::<Bytes, Bytes>::new(&name);
        let table = self.0.begin_read().unwrap().open_table(definition).unwrap();
        table.get(key).unwrap().map(|row| row.value().len())
    }

    fn scan(&mut self, table: u8, key: &[u8]) -> usize {
        let name = table_name(table);
        let definition = redb::TableDefinition::<Bytes, Bytes>::new(&name);
        let table = self.0.begin_read().unwrap().open_table(definition).unwrap();
        let rows = table.range(key..).unwrap().take(100);
        rows.map(|row| row.unwrap().1.value().len()).sum()
    }
}

/// SQLite in WAL mode: one table per view, clustered by key.
struct Sqlite {
    path: std::path::PathBuf,
    connection: rusqlite::Connection,
}

impl Sqlite {
    fn open(folder: &Path) -> Self {
        let path = folder.join("sqlite");
        let connection = Self::connect(&path);
        for table in 0..TABLES {
            let name = table_name(table);
            let table = format!(
                "CREATE TABLE IF NOT EXISTS {name} (key BLOB PRIMARY KEY, row BLOB) WITHOUT ROWID"
            );
            connection.execute(&table, ()).unwrap();
        }
        Self { path, connection }
    }

    fn connect(path: &Path) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(path).unwrap();
        connection.set_prepared_statement_cache_capacity(64);
        let cache = format!(
            "PRAGMA journal_mode = WAL; PRAGMA cache_size = -{}; PRAGMA busy_timeout = 10000;",
            CACHE_BYTES >> 10
        );
        connection.execute_batch(&cache).unwrap();
        connection
    }
}

impl Engine for Sqlite {
    fn commit(&mut self, rows: Vec<Row>, sync: bool) {
        let level = if sync { "FULL" } else { "NORMAL" };
        self.connection
            .pragma_update(None, "synchronous", level)
            .unwrap();
        let transaction = self.connection.transaction().unwrap();
        for rows in rows.chunk_by(|a, b| a.0 == b.0) {
            let upsert = format!(
                "INSERT OR REPLACE INTO {} VALUES (?, ?)",
                table_name(rows[0].0)
            );
            let mut upsert = transaction.prepare_cached(&upsert).unwrap();
            for (_, key, columns) in rows {
                upsert.execute((key, columns)).unwrap();
            }
        }
        transaction.commit().unwrap();
    }

    fn reader(&self) -> Box<dyn Reader> {
        Box::new(Self {
            path: self.path.clone(),
            connection: Self::connect(&self.path),
        })
    }
}

impl Reader for Sqlite {
    fn get(&mut self, table: u8, key: &[u8]) -> Option<usize> {
        let select = format!("SELECT row FROM {} WHERE key = ?", table_name(table));
        let mut select = self.connection.prepare_cached(&select).unwrap();
        let row = select.query_row([key], |row| row.get::<_, Vec<u8>>(0));
        row.ok().map(|row| row.len())
    }

    fn scan(&mut self, table: u8, key: &[u8]) -> usize {
        let name = table_name(table);
        let select = format!("SELECT row FROM {name} WHERE key >= ? ORDER BY key LIMIT 100");
        let mut select = self.connection.prepare_cached(&select).unwrap();
        let rows = select
            .query_map([key], |row| row.get::<_, Vec<u8>>(0))
            .unwrap();
        rows.map(|row| row.unwrap().len()).sum()
    }
}
