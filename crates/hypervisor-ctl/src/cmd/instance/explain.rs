//! `instance explain`: the scheduler's verdict on every node.

use crate::Context;
use crate::connect::{Connection, unary};
use crate::exit::Failure;
use crate::output::{Format, Rows, Text, Tone, human, view};
use clap::Args;
use hv_api::v1;

/// Why an instance is where it is, or is nowhere
#[derive(Args)]
pub(crate) struct Explain {
    /// Name or uid
    instance: String,
}

pub(crate) async fn run(context: &mut Context, asked: Explain) -> Result<(), Failure> {
    let mut client = Connection::open(context).await?.compute();
    let request =
        v1::ExplainInstanceRequest { instance: asked.instance, project: context.globals.project.clone() };
    let answer = client.explain_instance(unary(request)).await?.into_inner();
    match context.globals.output {
        Format::Json | Format::Yaml => context.show_value(&view::explanation(&answer)),
        Format::Name => context.say(&answer.node_name),
        Format::Table | Format::Wide => {
            context.say(&answer.summary)?;
            context.say("")?;
            context.show_rows(rows(&answer))
        }
    }
}

pub(crate) fn rows(answer: &v1::ExplainInstanceResponse) -> Rows {
    let cells = |verdict: &v1::NodeVerdict| {
        let word = match verdict.feasible {
            true if verdict.node_name == answer.node_name => Text("chosen".into(), Tone::Good),
            true => Text("possible".into(), Tone::Plain),
            false => Text("not possible".into(), Tone::Bad),
        };
        let score = if verdict.feasible { format!("{:.3}", verdict.score) } else { "-".to_owned() };
        vec![
            verdict.node_name.as_str().into(),
            word,
            score.into(),
            human::or_dash(&verdict.reasons.join("; ")).into(),
        ]
    };
    Rows {
        headers: &["NODE", "VERDICT", "SCORE", "REASONS"],
        wide: 0,
        rows: answer.verdicts.iter().map(cells).collect(),
        names: answer.verdicts.iter().map(|verdict| verdict.node_name.clone()).collect(),
        values: answer.verdicts.iter().map(view::node_verdict).collect(),
    }
}
