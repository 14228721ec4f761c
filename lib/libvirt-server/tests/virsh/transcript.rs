//! What virsh printed, command by command.

use crate::masks;

/// What virsh printed for a script, masked.
pub(crate) struct Transcript {
    pub(crate) text: String,
    pub(crate) commands: Vec<Command>,
}

/// A command and what came of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Command {
    pub(crate) line: String,
    pub(crate) output: String,
}

impl Transcript {
    pub(crate) fn of(script: &str, text: String) -> Self {
        Self::behind("virsh # ", script, text)
    }

    /// The same for another program, with its prompt.
    pub(crate) fn behind(prompt: &str, script: &str, text: String) -> Self {
        let mut generated = masks::Generated::default();
        let commands = text
            .split(prompt)
            .skip(1)
            // Behind its prompt virsh echoes the command, a long one cut on the left; behind the last one there is nothing.
            .filter_map(|part| part.split_once('\n'))
            .zip(script.lines())
            .map(|((_, output), line)| {
                let line = line.to_owned();
                let output = masks::mask(&line, output, &mut generated);
                Command { line, output }
            })
            .collect();
        Self { text, commands }
    }
}

impl Command {
    pub(crate) fn name(&self) -> &str {
        self.line.split_whitespace().next().unwrap_or_default()
    }

    pub(crate) fn succeeded(&self) -> bool {
        !self.output.contains("error:")
    }
}
