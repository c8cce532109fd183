//! The tables of the pages list all that there is, and nothing else.

use std::collections::BTreeSet;
use std::fs;

use crate::support::gatepass::{project, run};
use crate::support::{AuthorizationServer, Gatepass, Upstream, get, simple_config};

/// The cells of a column of the tables of a page whose header begins with this cell, without their
/// backticks.
fn cells(page: &str, header: &str, column: usize) -> BTreeSet<String> {
    let page = fs::read_to_string(project().join(page)).unwrap();
    let header = format!("\n| {header} |");
    let tables = page.split(&header).skip(1);
    let rows = tables.flat_map(|table| {
        let rows = table.lines().skip(2);
        rows.take_while(|line| line.starts_with('|'))
    });
    rows.map(|row| {
        let cell = row.split('|').nth(column).unwrap();
        cell.trim().trim_matches('`').to_owned()
    })
    .collect()
}

/// What a gatepass counts that nobody has asked anything yet.
async fn metrics() -> String {
    let provider = AuthorizationServer::start();
    let upstream = Upstream::start().await;
    let gatepass = Gatepass::start(&simple_config(&provider, &upstream))
        .ready()
        .await;
    get(gatepass.admin(), "/metrics").await.into_body()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_table_lists_what_is_served() {
    let metrics = metrics().await;
    let served: BTreeSet<String> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(|name| {
            if name.starts_with("process_") {
                "process_*"
            } else {
                name
            }
        })
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(cells("docs/metrics.md", "metric", 1), served);
}

#[test]
fn the_table_of_commands_lists_those_that_there_are() {
    let help = run(&["--help"], &[]).stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next());
    let commands: BTreeSet<_> = commands
        .filter(|command| *command != "help")
        .map(ToOwned::to_owned)
        .collect();
    assert_eq!(cells("README.md", "command", 1), commands);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_reasons_lists_those_that_are_counted() {
    let metrics = metrics().await;
    let counted: BTreeSet<_> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("gatepass_rejections_total{reason=\""))
        .map(|labels| labels.split('"').next().unwrap().to_owned())
        .collect();
    assert_eq!(cells("docs/requests.md", "status", 2), counted);
}
