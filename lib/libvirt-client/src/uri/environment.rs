//! What surrounds the process: variables, directories, files.

use super::{Uri, User};
use crate::auth::{AuthFile, Credentials};
use crate::config::Config;
use crate::error::Error;
use crate::transport::{Priority, Tls, Verify};
use std::path::PathBuf;

/// Where distributions put daemons.
const DAEMONS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/sbin"];

/// What of the surroundings decides how URIs are understood and where daemons, their sockets and files are.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Who we are.
    pub user: User,
    /// `XDG_RUNTIME_DIR`.
    pub runtime_directory: Option<PathBuf>,
    /// Where a user without one has what lives there (`XDG_CACHE_HOME`, or `.cache` in the user's home).
    pub cache_directory: Option<PathBuf>,
    /// Where the host's daemons have their sockets: `/run`.
    pub run: PathBuf,
    /// Where the host has its settings: `/etc`.
    pub etc: PathBuf,
    /// The user's own settings (`XDG_CONFIG_HOME`, or `.config` in the user's home).
    pub config_directory: Option<PathBuf>,
    /// The user's home.
    pub home: Option<PathBuf>,
    /// `LIBVIRT_DEFAULT_URI`.
    pub default_uri: Option<String>,
    /// `LIBVIRT_AUTH_FILE`.
    pub auth_file: Option<PathBuf>,
    /// Where the programs of daemons are looked for when a user's own daemon does not run yet; none: it is not started
    /// (`LIBVIRT_AUTOSTART=0`).
    pub daemons: Vec<PathBuf>,
    /// The program of a user's own daemon, wherever it is (`VIRTD_PATH`, or `LIBVIRTD_PATH`).
    pub daemon: Option<PathBuf>,
    /// The host's settings of GnuTLS, which may define lists that `tls_priority` names, and take away what no list gives back
    /// (`GNUTLS_SYSTEM_PRIORITY_FILE`); `gnutls/config` or
    /// `crypto-policies/back-ends/gnutls.config` of the host's settings where there is none.
    pub gnutls: Option<PathBuf>,
}

impl Default for Environment {
    /// A host's usual places, for nobody in particular.
    fn default() -> Self {
        Self {
            user: User::Other,
            runtime_directory: None,
            cache_directory: None,
            run: PathBuf::from("/run"),
            etc: PathBuf::from("/etc"),
            config_directory: None,
            home: None,
            default_uri: None,
            auth_file: None,
            daemons: Vec::new(),
            daemon: None,
            gnutls: None,
        }
    }
}

impl Environment {
    /// The surroundings of this process.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place where this library reads the environment")]
    pub fn from_env() -> Self {
        let text = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = |name: &str| text(name).map(PathBuf::from);
        let home = path("HOME");
        let autostart = text("LIBVIRT_AUTOSTART").is_none_or(|value| value != "0");
        Self {
            user: if rustix::process::geteuid().is_root() { User::Root } else { User::Other },
            runtime_directory: path("XDG_RUNTIME_DIR"),
            cache_directory: path("XDG_CACHE_HOME").or_else(|| home.as_ref().map(|home| home.join(".cache"))),
            config_directory: path("XDG_CONFIG_HOME")
                .or_else(|| home.as_ref().map(|home| home.join(".config"))),
            home,
            default_uri: text("LIBVIRT_DEFAULT_URI").and_then(|uri| uri.into_string().ok()),
            auth_file: path("LIBVIRT_AUTH_FILE"),
            daemon: path("VIRTD_PATH").or_else(|| path("LIBVIRTD_PATH")),
            gnutls: path("GNUTLS_SYSTEM_PRIORITY_FILE"),
            daemons: if autostart { DAEMONS.iter().map(PathBuf::from).collect() } else { Vec::new() },
            ..Self::default()
        }
    }

    /// Where a user's own daemons have their sockets (libvirt's `virutil.c`).
    pub(crate) fn sockets(&self) -> Option<&PathBuf> {
        self.runtime_directory.as_ref().or(self.cache_directory.as_ref())
    }

    /// The client's settings: root's are the host's, others have their own (`virConfLoadConfigPath`).
    pub(crate) fn config(&self) -> Result<Config, Error> {
        let directory =
            if self.user == User::Root { Some(&self.etc) } else { self.config_directory.as_ref() };
        let Some(directory) = directory else { return Ok(Config::default()) };
        match std::fs::read_to_string(directory.join("libvirt/libvirt.conf")) {
            Ok(text) => text.parse(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Config::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Who to be at a daemon: as the file says that the variable or the URI names, or else the first that exists of the user's and the
    /// host's (`virAuthGetConfigFilePath`).
    ///
    /// # Errors
    /// When the file cannot be read, which includes one that is named and does not exist, or says nothing.
    pub(crate) fn credentials(&self, uri: &Uri) -> Result<Option<Credentials>, Error> {
        let named = self.auth_file.clone().or_else(|| uri.parameter("authfile").map(PathBuf::from));
        let usual = || {
            let directories = self.config_directory.iter().chain([&self.etc]);
            directories.map(|directory| directory.join("libvirt/auth.conf")).find(|path| path.exists())
        };
        let Some(path) = named.or_else(usual) else { return Ok(None) };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Error::from(std::io::Error::new(error.kind(), format!("reading {}: {error}", path.display())))
        })?;
        let file: AuthFile = text.parse()?;
        Ok(file.credentials("libvirt", uri.host.as_deref().unwrap_or("localhost")))
    }

    /// Files for TLS: the URI's directory, the user's own if there is one, the host's.
    ///
    /// # Errors
    /// When the URI does not say clearly whether the daemon is to prove who it is.
    pub(crate) fn tls(&self, uri: &Uri) -> Result<Tls, Error> {
        let verify = if uri.is_on("no_verify")? { Verify::Nothing } else { Verify::Required };
        // What the host takes away from everybody it takes away from who asks for nothing, too.
        let priority = Priority::on_host(uri.parameter("tls_priority").unwrap_or("NORMAL"), &self.gnutls()?)?;
        if let Some(directory) = uri.parameter("pkipath") {
            return Ok(Tls { priority, ..Tls::in_directory(std::path::Path::new(directory), verify) });
        }
        let host = Tls { priority: priority.clone(), ..Tls::of_host(&self.etc, verify) };
        let Some(home) = self.home.as_ref().filter(|_| self.user != User::Root) else { return Ok(host) };
        let user = Tls::in_directory(&home.join(".pki/libvirt"), verify);
        Ok(Tls {
            ca: if user.ca.exists() { user.ca } else { host.ca },
            revoked: if user.revoked.exists() { user.revoked } else { host.revoked },
            identity: user.identity.or(host.identity),
            verify,
            priority,
        })
    }

    /// The host's settings of GnuTLS, or nothing where it has none.
    fn gnutls(&self) -> Result<String, Error> {
        let usual =
            ["gnutls/config", "crypto-policies/back-ends/gnutls.config"].map(|name| self.etc.join(name));
        let paths: &[PathBuf] = self.gnutls.as_ref().map_or(&usual, std::slice::from_ref);
        for path in paths {
            match std::fs::read(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                // What the host takes away is not to be spoken because nobody could read that.
                Err(error) => {
                    let why = format!("reading {}: {error}", path.display());
                    return Err(std::io::Error::new(error.kind(), why).into());
                }
                // A comment may be in any language.
                Ok(text) => return Ok(String::from_utf8_lossy(&text).into_owned()),
            }
        }
        Ok(String::new())
    }

    /// The program of the daemon that a URI means, if it may be started.
    pub(crate) fn daemon(&self, driver: &str, modular: bool) -> Option<PathBuf> {
        if !self.daemons.is_empty() && self.daemon.is_some() {
            return self.daemon.clone();
        }
        let name = if modular { format!("virt{driver}d") } else { "libvirtd".to_owned() };
        self.daemons.iter().map(|directory| directory.join(&name)).find(|path| path.exists())
    }

    pub(super) fn exists(&self, path: &std::path::Path) -> bool {
        path.exists()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_host_permits_of_tls_by_a_name_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let list = |list: &str| format!("[priorities]\nSYSTEM={list}\n");
        let uri: Uri = "qemu://h/system?tls_priority=@LIBVIRT,SYSTEM".parse().unwrap();
        let usual = Environment { etc: at("etc"), ..Environment::default() };
        let named = Environment { gnutls: Some(at("named")), ..usual.clone() };
        let read = |environment: &Environment| environment.tls(&uri).unwrap().priority;
        assert_eq!(read(&usual), Priority::default());
        for (name, environment, text) in [
            ("etc/crypto-policies/back-ends/gnutls.config", &usual, "SECURE256"),
            ("etc/gnutls/config", &usual, "NORMAL:-VERS-TLS1.2"),
            ("named", &named, "NORMAL:-VERS-TLS1.3"),
        ] {
            std::fs::create_dir_all(at(name).parent().unwrap()).unwrap();
            std::fs::write(at(name), list(text)).unwrap();
            assert_eq!(read(environment), text.parse().unwrap(), "{name}");
        }
        std::fs::write(at("named"), "[overrides]\ndisabled-version = TLS1.2\n").unwrap();
        let uri: Uri = "qemu://h/system".parse().unwrap();
        assert_eq!(named.tls(&uri).unwrap().priority, "NORMAL:-VERS-TLS1.2".parse().unwrap());
    }
}
