//! The image's file system, laid out in a folder as the Dockerfile's last stage says, and the
//! binary run in it: as its user, without capabilities, on a root that cannot be written.
//!
//! No container engine is needed: `unshare`, `setpriv` and `chroot` do what one does. The base is
//! not here. Of its files the binary needs CA certificates and libraries, which this machine has;
//! the libraries must be among those of the base.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::services::{Running, get};

/// The libraries of the base, `distroless/cc`: glibc and libgcc.
const BASE_LIBRARIES: [&str; 7] = [
    "ld-linux-x86-64.so.2",
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
];

/// The CA certificates of the base, and of Debian. A client for HTTPS cannot be made without them.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Mounts as a container engine does, gives up what it gives up, and runs the command: ROOT VOLUME
/// USER GROUP COMMAND...
const ENTER: &str = r#"
set -e
root=$1 volume=$2 user=$3 group=$4
shift 4
mount --bind "$root" "$root"
mount --bind "$volume" "$root/data"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs chroot --userspec="$user:$group" --groups= "$root" "$@"
"#;

/// What the last stage of the Dockerfile says.
#[derive(Default)]
struct Image {
    /// Source in the build stage, owner, and where it goes.
    copies: Vec<(String, Option<String>, String)>,
    environment: BTreeMap<String, String>,
    user: String,
    folder: String,
    entrypoint: Vec<String>,
    command: Vec<String>,
    health: Vec<String>,
    stop: String,
}

fn json(text: &str) -> Vec<String> {
    let list = &text[text.find('[').expect("a list")..];
    serde_json::from_str(list).expect("the exec form")
}

impl Image {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile");
        let text = fs::read_to_string(path)
            .expect("the Dockerfile")
            .replace("\\\n", " ");
        let last = text.rfind("\nFROM ").expect("stages") + 1;
        let mut image = Self::default();
        for line in text[last..].lines().filter(|line| !line.starts_with('#')) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match word {
                "COPY" => image.copy(rest),
                "ENV" => image.environment.extend(rest.split(' ').map(|pair| {
                    let (name, value) = pair.split_once('=').expect("a pair");
                    (name.to_owned(), value.to_owned())
                })),
                "USER" => rest.clone_into(&mut image.user),
                "WORKDIR" => rest.clone_into(&mut image.folder),
                "ENTRYPOINT" => image.entrypoint = json(rest),
                "CMD" => image.command = json(rest),
                "HEALTHCHECK" => image.health = json(rest),
                "STOPSIGNAL" => rest.clone_into(&mut image.stop),
                "" | "FROM" | "VOLUME" | "EXPOSE" => {}
                other => panic!("{other} is not understood here"),
            }
        }
        image
    }

    fn copy(&mut self, rest: &str) {
        let (flags, paths): (Vec<&str>, Vec<&str>) =
            rest.split(' ').partition(|word| word.starts_with("--"));
        let owner = flags.iter().find_map(|flag| flag.strip_prefix("--chown="));
        let [from, to] = paths[..] else {
            panic!("one source, one target: {rest}");
        };
        let owner = owner.map(str::to_owned);
        self.copies.push((from.to_owned(), owner, to.to_owned()));
    }

    fn ids(&self) -> (u32, u32) {
        ids(&self.user)
    }
}

fn ids(owner: &str) -> (u32, u32) {
    let (user, group) = owner.split_once(':').expect("user and group");
    (
        user.parse().expect("a number"),
        group.parse().expect("a number"),
    )
}

/// The file system of a container.
struct Container {
    image: Image,
    root: TempDir,
    /// A folder in which the volume is.
    volumes: TempDir,
    port: u16,
}

impl Container {
    /// Lays out the image; `None`, said loudly, where that is not permitted.
    fn new() -> Option<Self> {
        let permitted = Command::new("unshare").args(["--mount", "true"]).status();
        if !permitted.is_ok_and(|status| status.success()) {
            eprintln!("skipped: the image is laid out with `unshare --mount`, which needs root");
            assert!(std::env::var_os("CI").is_none(), "in CI nothing is skipped");
            return None;
        }
        let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
        let container = Self {
            image: Image::read(),
            root: tempfile::tempdir().expect("a folder"),
            volumes: tempfile::tempdir().expect("a folder"),
            port: listener.local_addr().expect("its address").port(),
        };
        for folder in [&container.root, &container.volumes] {
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(folder.path(), open).expect("its owner is this process");
        }
        container.lay_out();
        Some(container)
    }

    fn inside(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn lay_out(&self) {
        let binary = Path::new(env!("CARGO_BIN_EXE_skytide"));
        let base = libraries(binary).into_iter().chain([CERTIFICATES.into()]);
        for file in base {
            let to = self.inside(file.to_str().expect("a path"));
            fs::create_dir_all(to.parent().expect("a folder")).expect("made");
            fs::copy(file, to).expect("copied");
        }
        fs::create_dir(self.inside("/tmp")).expect("made");
        for (from, owner, to) in &self.image.copies {
            let to = self.inside(to);
            fs::create_dir_all(to.parent().expect("a folder")).expect("made");
            match from.as_str() {
                "/image/skytide" => drop(fs::copy(binary, &to).expect("copied")),
                "/image/data" => fs::create_dir(&to).expect("made"),
                other => panic!("{other} is not built"),
            }
            let (user, group) = owner.as_deref().map_or((0, 0), ids);
            chown(&to, Some(user), Some(group)).expect("root");
        }
    }

    /// A new volume with the image's folder in it, as engines fill one.
    fn named_volume(&self) -> PathBuf {
        let (from, volume) = (self.inside("/data"), self.volumes.path().join("named"));
        let metadata = fs::metadata(from).expect("a folder");
        fs::create_dir(&volume).expect("made");
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o750)).expect("root");
        chown(&volume, Some(metadata.uid()), Some(metadata.gid())).expect("root");
        volume
    }

    /// A volume of root's that the group may write, as Kubernetes makes one for `fsGroup`.
    fn group_volume(&self) -> PathBuf {
        let volume = self.volumes.path().join("group");
        fs::create_dir(&volume).expect("made");
        chown(&volume, Some(0), Some(self.image.ids().1)).expect("root");
        fs::set_permissions(&volume, fs::Permissions::from_mode(0o2775)).expect("root");
        volume
    }

    /// A command in the container, with nothing in its environment but what the image and an
    /// operator set.
    fn command(&self, volume: &Path, args: &[String]) -> Command {
        let (user, group) = self.image.ids();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation=private", "sh", "-c", ENTER, "sh"]);
        command.args([self.root.path(), volume]);
        command
            .args([user.to_string(), group.to_string()])
            .args(args);
        command.env_clear().env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command.envs(&self.image.environment);
        command.env("API_ADDRESS", format!("0.0.0.0:{}", self.port));
        command.env("FIREHOSE_URL", "ws://127.0.0.1:9");
        command.env("SCHEDULER_PROFILES_CRON", "never");
        command.stdin(Stdio::null());
        command
    }

    fn ran(&self, volume: &Path, args: &[String]) -> Output {
        self.command(volume, args).output().expect("it runs")
    }

    /// Starts it, asks how it does, stops it as an engine does, and starts it again.
    fn works_on(&self, volume: &Path) {
        for _start in 0..2 {
            let args = [&self.image.entrypoint[..], &self.image.command].concat();
            let (up, address) = Running::start(self.command(volume, &args));
            assert_eq!(address, format!("0.0.0.0:{}", self.port));
            let loopback = format!("127.0.0.1:{}", self.port);
            assert!(get(&loopback, "/healthz").starts_with("HTTP/1.1 200"));
            let alive = self.ran(volume, &self.image.health);
            assert!(alive.status.success(), "{alive:?}");
            let mut ready = self.image.health.clone();
            ready.retain(|word| word != "--live");
            let ready = self.ran(volume, &ready);
            let line = String::from_utf8_lossy(&ready.stdout).into_owned();
            assert_eq!(ready.status.code(), Some(1), "{ready:?}");
            assert!(line.contains("readyz: not ready: "), "{ready:?}");
            self.is_confined(up.0.id());
            up.signal(&self.image.stop.replace("SIG", "-"));
            let (code, err) = up.end();
            assert_eq!(code, Some(0), "{err}");
        }
        let entries = fs::read_dir(volume).expect("a folder");
        let entries: Vec<_> = entries.map(|entry| entry.expect("an entry")).collect();
        let names: Vec<_> = entries.iter().map(fs::DirEntry::file_name).collect();
        assert!(names.iter().any(|name| name == "log"), "{names:?}");
        for entry in entries {
            let metadata = entry.metadata().expect("metadata");
            assert_eq!(metadata.uid(), self.image.ids().0, "{entry:?}");
        }
    }

    /// It is the image's user, and can become nothing else.
    fn is_confined(&self, process: u32) {
        let status = fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.expect(name)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        let (user, group) = self.image.ids();
        assert_eq!(field("Uid:"), format!("{user} {user} {user} {user}"));
        assert_eq!(field("Gid:"), format!("{group} {group} {group} {group}"));
        assert_eq!(
            (field("Groups:"), field("NoNewPrivs:")),
            (String::new(), "1".to_owned())
        );
        assert_eq!(field("CapEff:"), "0000000000000000");
        let wrote = fs::read_to_string(format!("/proc/{process}/mountinfo")).expect("it runs");
        let root = wrote
            .lines()
            .find(|line| line.split(' ').nth(4) == Some("/"));
        let options = root.expect("a root").split(' ').nth(5).expect("options");
        assert!(options.split(',').any(|option| option == "ro"), "{options}");
    }
}

/// The libraries that a program loads.
fn libraries(program: &Path) -> Vec<PathBuf> {
    let listed = Command::new("ldd").arg(program).output().expect("ldd runs");
    let text = String::from_utf8(listed.stdout).expect("text");
    let paths = text.split_whitespace().filter(|word| word.starts_with('/'));
    let paths: Vec<_> = paths.map(PathBuf::from).collect();
    assert!(paths.len() >= 3, "{text}");
    for path in &paths {
        let name = path.file_name().expect("a name").to_str().expect("text");
        assert!(
            BASE_LIBRARIES.contains(&name),
            "{name} is not in the image's base"
        );
    }
    paths
}

#[test]
fn the_image_starts_on_new_volumes_as_its_user_and_its_health_check_works() {
    let Some(container) = Container::new() else {
        return;
    };
    container.works_on(&container.named_volume());
    container.works_on(&container.group_volume());
}

#[test]
fn the_image_has_a_numeric_user_a_folder_of_its_own_and_a_signal() {
    let image = Image::read();
    assert_ne!(image.ids().0, 0, "not root");
    let data = image
        .copies
        .iter()
        .find(|(_, _, to)| to == "/data")
        .expect("/data");
    assert_eq!(
        data.1.as_ref(),
        Some(&image.user),
        "its user owns the folder"
    );
    assert_eq!(
        (image.folder.as_str(), image.stop.as_str()),
        ("/data", "SIGTERM")
    );
    assert_eq!(image.environment["STORE_DIR"], "/data");
    assert_eq!(image.command, ["up"]);
    assert_eq!(image.health, [&image.entrypoint[0], "probe", "--live"]);
    let program = image
        .copies
        .iter()
        .find(|(from, ..)| from == "/image/skytide");
    assert_eq!(program.expect("the binary").2, image.entrypoint[0]);
}
