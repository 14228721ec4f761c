//! What checks found, for people and for programs.

use crate::probe;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;
use vhost_user::check::{Finding, Level, Report, Verdict};

/// How findings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// A document: what failed, and what could not be asked.
    Markdown,
    /// Everything, for programs.
    Json,
    /// For CI that shows tests.
    Junit,
    /// For code scanning.
    Sarif,
}

/// A report, and how it is shown.
pub(crate) struct Shown<'r> {
    pub(crate) report: &'r Report,
    /// What was checked.
    pub(crate) name: &'r str,
    pub(crate) time: Duration,
    /// Also what passed, and what could not be asked.
    pub(crate) all: bool,
    pub(crate) colour: bool,
    /// The levels whose failure counts, for who has a word for one that does not.
    pub(crate) counts: &'r [Level],
}

impl Shown<'_> {
    const fn paint(&self, code: &'static str) -> &'static str {
        if self.colour { code } else { "" }
    }

    /// Whether this is a failure that counts.
    fn counts(&self, finding: &Finding) -> bool {
        matches!(finding.verdict, Verdict::Failed(_)) && self.counts.contains(&finding.level)
    }
}

pub(crate) fn print(shown: &Shown<'_>, format: Format) -> String {
    match format {
        Format::Table => table(shown),
        Format::Markdown => markdown(shown),
        Format::Json => format!("{:#}\n", as_json(shown)),
        Format::Junit => junit(shown),
        Format::Sarif => format!("{:#}\n", sarif(shown)),
    }
}

pub(crate) const fn level(level: Level) -> &'static str {
    match level {
        Level::Must => "must",
        Level::Should => "should",
        Level::Robust => "robust",
    }
}

const RED: &str = "\u{1b}[31m";
const YELLOW: &str = "\u{1b}[33m";
const GREEN: &str = "\u{1b}[32m";
const DIM: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";

fn table(shown: &Shown<'_>) -> String {
    let Shown { report, all, .. } = *shown;
    let paint = |code: &'static str| shown.paint(code);
    let plain = paint(PLAIN);
    let mut text = String::new();
    let mut group = "";
    for finding in &report.findings {
        let (mark, code) = match (&finding.verdict, finding.level) {
            (Verdict::Passed, _) => ("ok", GREEN),
            (Verdict::Failed(_), Level::Robust) => ("WEAK", YELLOW),
            (Verdict::Failed(_), _) => ("FAIL", RED),
            (Verdict::NotApplicable(_), _) => ("-", DIM),
        };
        if !all && !matches!(finding.verdict, Verdict::Failed(_)) {
            continue;
        }
        let its_group = finding.id.split('.').next().unwrap_or_default();
        if its_group != group {
            group = its_group;
            let _ = writeln!(text, "{group}");
        }
        let code = paint(code);
        let _ = writeln!(text, "  {code}{mark:<4}{plain} {:<40} {}", finding.id, finding.title);
        match &finding.verdict {
            Verdict::Passed => {}
            Verdict::Failed(why) => {
                let _ = writeln!(text, "       {why}   [{}; {}]", level(finding.level), finding.section);
            }
            Verdict::NotApplicable(why) => {
                let dim = paint(DIM);
                let _ = writeln!(text, "       {dim}{why}{plain}");
            }
        }
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text + &summary(shown)
}

/// How many of what there were, and what that comes to.
pub(crate) fn summary(shown: &Shown<'_>) -> String {
    let report = shown.report;
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{} checks in {:.1} s: {} passed, {} failed (must {}, should {}, robust {}), {} not applicable.",
        report.findings.len(),
        shown.time.as_secs_f64(),
        report.passed(),
        report.findings.iter().filter(|it| matches!(it.verdict, Verdict::Failed(_))).count(),
        report.failed(Level::Must),
        report.failed(Level::Should),
        report.failed(Level::Robust),
        report.not_applicable(),
    );
    let (code, verdict) = verdict(report);
    let _ = writeln!(text, "{}{verdict}{}", shown.paint(code), shown.paint(PLAIN));
    text
}

/// A sentence that a person understands.
fn verdict(report: &Report) -> (&'static str, String) {
    if report.findings.is_empty() && report.gone_before.is_some() {
        return (RED, "The back-end cannot be reached: nothing was checked.".to_owned());
    }
    if let Some(id) = &report.gone_before {
        let text = format!(
            "The back-end is gone, and {id} and what follows were not checked. With --command it is started again."
        );
        return (RED, text);
    }
    let has_failed = |begin: &str| {
        let mut found =
            report.findings.iter().filter(|it| it.level == Level::Must && it.id.starts_with(begin));
        found.any(|it| matches!(it.verdict, Verdict::Failed(_)))
    };
    if has_failed("type.") {
        let text = "It offers what a device of this type cannot have. Is --type what it is?";
        return (RED, text.to_owned());
    }
    if has_failed("rings.served") {
        let text = "It serves no request, so that nothing else was asked of its rings. Is --type what it is?";
        return (RED, text.to_owned());
    }
    let [must, should, robust] =
        [Level::Must, Level::Should, Level::Robust].map(|level| report.failed(level));
    match (must, should, robust) {
        (0, 0, 0) if report.passed() == 0 => {
            (YELLOW, "Nothing of this could be asked of the back-end: --all says why.".to_owned())
        }
        (0, 0, 0) => (GREEN, "It does what was checked, all of it.".to_owned()),
        (0, 0, _) => (
            YELLOW,
            "It follows the specification. Front-ends that are broken, or hostile guests, can harm it."
                .to_owned(),
        ),
        (0, _, _) => {
            (YELLOW, "It follows what the specification demands, and not all that it recommends.".to_owned())
        }
        _ => (RED, "It does not follow the specification: front-ends that rely on it will fail.".to_owned()),
    }
}

fn markdown(shown: &Shown<'_>) -> String {
    let Shown { report, time, .. } = *shown;
    // What is in cells must not end them.
    let cell = |text: &str| text.replace('|', "\\|");
    let mut text = format!("{}\n\n", verdict(report).1);
    let _ = writeln!(text, "| | |\n|---|---|");
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "| {name} | {} |", cell(&value));
    };
    row("checks", format!("{} in {:.1} s", report.findings.len(), time.as_secs_f64()));
    row("passed", report.passed().to_string());
    for of in [Level::Must, Level::Should, Level::Robust] {
        row(&format!("failed ({})", level(of)), report.failed(of).to_string());
    }
    row("not applicable", report.not_applicable().to_string());
    for line in probe::words(&report.offer, None).lines() {
        let (name, value) = line.split_at_checked(18).unwrap_or((line, ""));
        row(name.trim(), value.trim().to_owned());
    }
    text.push_str("\n## What failed\n\n| check | level | what it asks | what was seen | section |\n|---|---|---|---|---|\n");
    for finding in &report.findings {
        if let Verdict::Failed(why) = &finding.verdict {
            let Finding { id, title, section, .. } = finding;
            let of = level(finding.level);
            let _ = writeln!(text, "| `{id}` | {of} | {} | {} | {} |", cell(title), cell(why), cell(section));
        }
    }
    text.push_str("\n## What could not be asked\n\n| check | why |\n|---|---|\n");
    for finding in &report.findings {
        if let Verdict::NotApplicable(why) = &finding.verdict {
            let _ = writeln!(text, "| `{}` | {} |", finding.id, cell(why));
        }
    }
    text
}

fn outcome(verdict: &Verdict) -> (&'static str, Option<&str>) {
    match verdict {
        Verdict::Passed => ("passed", None),
        Verdict::Failed(why) => ("failed", Some(why)),
        Verdict::NotApplicable(why) => ("not applicable", Some(why)),
    }
}

fn as_json(shown: &Shown<'_>) -> Value {
    let Shown { report, name, time, .. } = *shown;
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| {
            let (outcome, why) = outcome(&finding.verdict);
            json!({
                "id": finding.id,
                "title": finding.title,
                "section": finding.section,
                "level": level(finding.level),
                "outcome": outcome,
                "why": why,
                "seconds": finding.time.as_secs_f64(),
            })
        })
        .collect();
    json!({
        "back_end": name,
        "seconds": time.as_secs_f64(),
        "offer": probe::value(&report.offer, None),
        "passed": report.passed(),
        "failed": {
            "must": report.failed(Level::Must),
            "should": report.failed(Level::Should),
            "robust": report.failed(Level::Robust),
        },
        "not_applicable": report.not_applicable(),
        "gone_before": report.gone_before,
        "verdict": verdict(report).1,
        "findings": findings,
    })
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // What XML has no way to say.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

fn junit(shown: &Shown<'_>) -> String {
    let Shown { report, name, time, .. } = *shown;
    // Whoever reads it knows failures, and nothing less: what does not count was not asked.
    let failures = report.findings.iter().filter(|it| shown.counts(it)).count();
    let others =
        report.findings.iter().filter(|it| matches!(it.verdict, Verdict::Failed(_))).count() - failures;
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(
        text,
        "<testsuite name=\"vhost-user-check {}\" tests=\"{}\" failures=\"{failures}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        escaped(name),
        report.findings.len() + usize::from(report.gone_before.is_some()),
        usize::from(report.gone_before.is_some()),
        report.not_applicable() + others,
        time.as_secs_f64()
    );
    for finding in &report.findings {
        let Finding { id, title, section, level: of, verdict, time } = finding;
        let (group, rest) = id.split_once('.').unwrap_or((id, id));
        let _ = write!(
            text,
            "  <testcase classname=\"{}\" name=\"{}: {}\" time=\"{:.3}\"",
            escaped(group),
            escaped(rest),
            escaped(title),
            time.as_secs_f64()
        );
        let _ = match verdict {
            Verdict::Passed => writeln!(text, "/>"),
            Verdict::Failed(why) if !shown.counts(finding) => writeln!(
                text,
                "><skipped message=\"{}\"/></testcase>",
                escaped(&format!("failed, which does not count (--fail-on): {}: {why}", level(*of)))
            ),
            Verdict::Failed(why) => writeln!(
                text,
                "><failure type=\"{}\" message=\"{}\">{}</failure></testcase>",
                level(*of),
                escaped(why),
                escaped(section)
            ),
            Verdict::NotApplicable(why) => {
                writeln!(text, "><skipped message=\"{}\"/></testcase>", escaped(why))
            }
        };
    }
    // Checks that were not made are no checks that passed.
    if report.gone_before.is_some() {
        let _ = writeln!(
            text,
            "  <testcase classname=\"run\" name=\"all checks are made\"><error message=\"{}\"/></testcase>",
            escaped(&verdict(report).1)
        );
    }
    text.push_str("</testsuite>\n");
    text
}

/// A path as a reference that is relative to the root of the sources (RFC 3986, section 4.2), as code scanning wants it.
fn reference(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.trim_start_matches('/').bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                text.push(char::from(byte));
            }
            other => {
                let _ = write!(text, "%{other:02X}");
            }
        }
    }
    text
}

fn sarif(shown: &Shown<'_>) -> Value {
    let Shown { report, name, .. } = *shown;
    let severity = |of: Level| match of {
        Level::Must => "error",
        Level::Should => "warning",
        Level::Robust => "note",
    };
    let rules: Vec<Value> = report
        .findings
        .iter()
        .map(|it| {
            json!({
                "id": it.id,
                "shortDescription": { "text": it.title },
                "help": { "text": it.section },
                "defaultConfiguration": { "level": severity(it.level) },
            })
        })
        .collect();
    let failed = report.findings.iter().enumerate().filter_map(|(index, it)| match &it.verdict {
        Verdict::Failed(why) => Some(json!({
            "ruleId": it.id,
            "ruleIndex": index,
            "level": severity(it.level),
            "message": { "text": format!("{}: {why}", it.title) },
            // Code scanning shows what has a place in a file only: the socket's name stands for the back-end.
            "locations": [{
                "physicalLocation": {
                    "artifactLocation": { "uri": reference(name) },
                    "region": { "startLine": 1 },
                },
                "logicalLocations": [{ "fullyQualifiedName": name, "kind": "resource" }],
            }],
        })),
        Verdict::Passed | Verdict::NotApplicable(_) => None,
    });
    let results: Vec<Value> = failed.collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "vhost-user-check", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
            "invocations": [match &report.gone_before {
                None => json!({ "executionSuccessful": true }),
                Some(_) => json!({
                    "executionSuccessful": false,
                    "toolExecutionNotifications": [{ "level": "error", "message": { "text": verdict(report).1 } }],
                }),
            }],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use vhost_user::check::Offer;

    fn finding(level: Level, verdict: Verdict) -> Finding {
        let (id, title) = (format!("group.{level:?}"), "it does".to_owned());
        Finding { id, title, section: "a section", level, verdict, time: Duration::ZERO }
    }

    /// What turns CI red and what its page shows as failed is the same.
    #[test]
    fn what_does_not_count_is_no_failure_of_junit() {
        let failed = |level| finding(level, Verdict::Failed("seen".to_owned()));
        let findings = vec![failed(Level::Must), failed(Level::Should), failed(Level::Robust)];
        let report = Report { offer: Offer::default(), findings, gone_before: None };
        let all = [Level::Must, Level::Should, Level::Robust];
        for count in 0..=all.len() {
            let counts = &all[..count];
            let time = Duration::ZERO;
            let shown = Shown { report: &report, name: "x", time, all: false, colour: false, counts };
            let text = junit(&shown);
            assert!(text.contains(&format!("failures=\"{count}\"")), "{text}");
            assert!(text.contains(&format!("skipped=\"{}\"", all.len() - count)), "{text}");
            assert_eq!(text.matches("<failure ").count(), count, "{text}");
            assert_eq!(text.matches("<skipped message=\"failed, which").count(), all.len() - count, "{text}");
        }
    }

    #[test]
    fn a_path_is_a_reference() {
        assert_eq!(reference("/run/my disk.sock"), "run/my%20disk.sock");
        assert_eq!(reference("a%b#c?d/\u{e4}"), "a%25b%23c%3Fd/%C3%A4");
    }
}
