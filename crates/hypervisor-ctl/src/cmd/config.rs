//! `config`: servers by name, and what is in force.

use crate::Context;
use crate::connect::Target;
use crate::contexts::Contexts;
use crate::exit::Failure;
use crate::output::{Details, Rows};
use clap::{Subcommand, ValueHint};
use hv_client::ServerAddr;
use hv_core::{Error, ErrorKind};
use serde_json::json;
use std::path::PathBuf;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The contexts in the configuration file
    Contexts,
    /// Use a context from now on
    Use {
        /// Its name
        name: String,
    },
    /// Make or change a context
    ///
    /// Example: hypervisor-ctl config set lab --server unix:/run/hypervisor/server.sock --token-file ~/.lab-token
    Set {
        /// Its name
        name: String,
        /// Use it from now on
        #[arg(long = "use")]
        use_it: bool,
    },
    /// Forget a context
    Remove {
        /// Its name
        name: String,
    },
    /// The server and the token in force, and what chose them
    Show {
        /// Show the path of the configuration file only
        #[arg(long, value_hint = ValueHint::FilePath)]
        path: bool,
    },
}

pub(crate) fn run(context: &mut Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Contexts => list(context),
        Command::Use { name } => {
            let mut contexts = Contexts::load(&context.io)?;
            contexts.find(&name)?;
            contexts.current = Some(name.clone());
            contexts.save(&context.io)?;
            context.say(format!("context {name} is in force"))
        }
        Command::Set { name, use_it } => set(context, name, use_it),
        Command::Remove { name } => {
            let mut contexts = Contexts::load(&context.io)?;
            contexts.find(&name)?;
            contexts.contexts.remove(&name);
            contexts.current = contexts.current.filter(|current| *current != name);
            contexts.save(&context.io)?;
            context.say(format!("context {name} is forgotten"))
        }
        Command::Show { path: true } => {
            let path = Contexts::path(&context.io).unwrap_or_default();
            context.say(path.display().to_string())
        }
        Command::Show { path: false } => show(context),
    }
}

fn list(context: &mut Context) -> Result<(), Failure> {
    let contexts = Contexts::load(&context.io)?;
    let mut rows = Rows {
        headers: &["CURRENT", "NAME", "SERVER", "TOKEN FILE"],
        wide: 0,
        rows: vec![],
        names: vec![],
        values: vec![],
    };
    for (name, entry) in &contexts.contexts {
        let current = contexts.current.as_ref() == Some(name);
        let server = entry.server.clone().unwrap_or_default();
        let token_file = entry.token_file.clone().unwrap_or_default();
        rows.rows.push(vec![
            (if current { "*" } else { "" }).into(),
            name.into(),
            server.as_str().into(),
            token_file.display().to_string().into(),
        ]);
        rows.names.push(name.clone());
        rows.values.push(json!({
            "name": name, "current": current, "server": entry.server, "token_file": entry.token_file,
        }));
    }
    context.show_rows(rows)
}

/// The global flags carry the values: `config set lab --server unix:...`.
fn set(context: &mut Context, name: String, use_it: bool) -> Result<(), Failure> {
    let mut contexts = Contexts::load(&context.io)?;
    let entry = contexts.contexts.entry(name.clone()).or_default();
    if let Some(server) = &context.globals.server {
        server
            .parse::<ServerAddr>()
            .map_err(|message| Error::new(ErrorKind::Invalid, format!("--server: {message}")))?;
        entry.server = Some(server.clone());
    }
    if let Some(file) = &context.globals.token_file {
        // The file is read from any directory later.
        entry.token_file = Some(std::path::absolute(PathBuf::from(file))?);
    }
    if entry.server.is_none() {
        let error = Error::new(ErrorKind::Invalid, format!("context {name} has no server yet"))
            .with_hint(format!("hypervisor-ctl config set {name} --server unix:PATH --token-file FILE"));
        return Err(error.into());
    }
    if use_it || contexts.contexts.len() == 1 {
        contexts.current = Some(name.clone());
    }
    let path = contexts.save(&context.io)?;
    context.say(format!("context {name} is in {}", path.display()))
}

fn show(context: &mut Context) -> Result<(), Failure> {
    let target = Target::resolve(context)?;
    let file = Contexts::path(&context.io).filter(|path| path.exists());
    let value = json!({
        "server": target.server.to_string(),
        "server_from": target.server_from,
        "token_file": target.token_file,
        "token_from": target.token_from,
        "file": file,
    });
    let name = target.server.to_string();
    context.show_one(&value, &name, || {
        let mut details = Details::default();
        details
            .add("Server", format!("{} ({})", target.server, target.server_from))
            .add("Token file", format!("{} ({})", target.token_file.display(), target.token_from))
            .add("Contexts", file.map_or_else(|| "no file".to_owned(), |path| path.display().to_string()));
        details
    })
}
