//! `cargo xtask schemathesis`: sends generated requests, good and bad, to every operation that our OpenAPI documents
//! describe, and holds every answer against the document and against what every answer of ours must be.

mod curl;
mod look;
mod report;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::http::client::Client;
use crate::http::server::free_address;
use crate::server::{self, Binary, Launch, Wellorder, log_tail};
use crate::shell::capture;
use crate::{venv, workspace};
use report::Run;

/// How hard to try.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Requests that must be sent and answered in all; there may be more
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    cases: usize,
    /// The same seed makes the same requests, as far as they do not follow from answers
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    binary: Binary,
    /// Keep the data folder, the reports and the log, also when all is well
    #[arg(long)]
    keep: bool,
}

impl Args {
    /// What every CI run does: always the same requests, so that a change is to blame for what fails.
    pub(crate) fn for_ci() -> Self {
        Self { cases: 2_000, seed: Some(1), binary: Binary::default(), keep: false }
    }
}

/// A document, and the file beside `requirements.txt` that says where schemathesis is wrong about it.
struct Document {
    name: &'static str,
    path: &'static str,
}

const DOCUMENTS: &[Document] = &[
    Document { name: "v1", path: "/v1/openapi.json" },
    Document { name: "oscarps", path: "/oscarps/docs/json" },
    Document { name: "parspec", path: "/parspec/docs/json" },
    Document { name: "marketplace", path: "/marketplace/docs/json" },
    Document { name: "orderstream", path: "/orderstream/docs/json" },
];

/// All that apply: nothing is deleted.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
    response_headers_conformance,negative_data_rejection,positive_data_acceptance,missing_required_header,\
    unsupported_method,allow_header_conformance,ensure_resource_availability,ignored_auth";

/// What a token needs to open every route.
const SCOPES: &str = "orders:read,orders:write,orders:cancel,events:read,work:claim,work:redrive,followers:write,\
    keys:admin,audit:read,backups:write,stores:read,stores:write,webhooks:read,webhooks:write";

/// Half of all orders fail at once and are parked, so that every answer has something to show.
const SETTINGS: &[(&str, &str)] = &[
    ("WELLORDER_SIMULATE_DELAY_MS", "10"),
    ("WELLORDER_SIMULATE_FAIL_RATE", "0.5"),
    ("WELLORDER_WORKER_MAX_ATTEMPTS", "1"),
    ("WELLORDER_LOG_LEVEL", "warn"),
    // Of no use but to this run.
    ("WELLORDER_SECRETS_KEY", "tk6Rut5jFn7485x3gVa8IGE+9gBLff6u1avibb8SQzc="),
    ("WELLORDER_PROCESSOR", "simulate"),
    // So that there is work to claim.
    ("WELLORDER_CONTRACTS_OSCARPS_PROCESSOR", "pull"),
    ("WELLORDER_CONTRACTS_ORDERSTREAM_ACK_WAIT", "1s"),
    ("WELLORDER_MARKETPLACE_MOCK", "true"),
    ("MOCK_ETSY_USER", "etsy_user"),
    ("MOCK_ETSY_PASS", "etsy_pass"),
    ("MOCK_SHOPIFY_USER", "shopify_user"),
    ("MOCK_SHOPIFY_PASS", "shopify_pass"),
    ("MOCK_AMAZON_USER", "amazon_user"),
    ("MOCK_AMAZON_PASS", "amazon_pass"),
    // A client as busy as this one would be slowed down.
    ("WELLORDER_RATE_KEY_PER_SECOND", "0"),
    ("WELLORDER_RATE_TENANT_PER_SECOND", "0"),
    ("WELLORDER_RATE_ADDRESS_PER_SECOND", "0"),
    ("WELLORDER_RATE_FAILED_LOGINS_PER_MINUTE", "0"),
];

const START_LIMIT: Duration = Duration::from_secs(30);
const STOP_LIMIT: Duration = Duration::from_secs(25);

/// Runs as asked; false when anything failed.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let began = Instant::now();
    let program = venv::programs("schemathesis")?.join("schemathesis");
    let binary = args.binary.or_built()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = args.seed.unwrap_or(u64::from(now.subsec_nanos()));
    let folder = std::env::temp_dir().join(format!("wellorder-schemathesis-{}-{seed}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let (launch, ops) = launch(binary, &folder)?;
    let token = token(&launch)?;
    let mut server = launch.start_as("serve", &[])?;
    if !server.ready_within(START_LIMIT) {
        bail!("the server does not start:\n{}", log_tail(&launch.log, 20));
    }
    println!("seed {seed}, at least {} cases", args.cases);
    let mut run = Run::default();
    let mut rounds = 0;
    while run.cases < args.cases && run.failures.is_empty() {
        let before = run.cases;
        for document in DOCUMENTS {
            run.add(
                document.name,
                ask(&program, &folder, &launch, &token, document, (seed + rounds, args.cases))?,
            );
        }
        rounds += 1;
        if run.cases == before {
            bail!("not one request was sent");
        }
    }
    let counted = answered(ops);
    let mut faults = afterwards(&launch, &mut server);
    match counted {
        Ok(counted) if counted >= run.cases => {}
        counted => faults.push(format!("{} answers are reported, the server counts {counted:?}", run.cases)),
    }
    if run.cases < args.cases && run.failures.is_empty() {
        faults.push(format!("{} cases were asked for, {} were run", args.cases, run.cases));
    }
    tell(&run, &faults);
    let green = run.failures.is_empty() && faults.is_empty();
    println!(
        "schemathesis: {} cases in {:.0} s, seed {seed}, {} failures",
        run.cases,
        began.elapsed().as_secs_f64(),
        run.failures.len() + faults.len()
    );
    if args.keep || !green {
        eprintln!("data, reports and log are kept in {}", folder.display());
    } else {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(green)
}

/// A server with logins, and where it tells how it is.
fn launch(binary: PathBuf, folder: &Path) -> Result<(Launch, SocketAddr)> {
    let ops = free_address()?;
    let mut env: Vec<(String, String)> =
        SETTINGS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    env.push(("WELLORDER_OPS".to_owned(), ops.to_string()));
    env.push(("JWT_SECRET".to_owned(), server::secret()?));
    let (data, log) = (folder.join("data"), folder.join("server.log"));
    Ok((Launch { binary, data, address: free_address()?, args: Vec::new(), env, log }, ops))
}

/// A token that opens everything.
fn token(launch: &Launch) -> Result<String> {
    let mut command = launch.command();
    command.arg("token").arg("--data").arg(&launch.data).args(["--lifetime", "12h"]);
    for scope in SCOPES.split(',') {
        command.args(["--scope", scope]);
    }
    match capture(&mut command)? {
        (Some(0), token) => Ok(token.trim().to_owned()),
        (code, out) => bail!("no token (exit code {code:?}): {out}"),
    }
}

/// One run of schemathesis over one document.
fn ask(
    program: &Path,
    folder: &Path,
    launch: &Launch,
    token: &str,
    document: &Document,
    (seed, cases): (u64, usize),
) -> Result<Run> {
    let began = Instant::now();
    let name = document.name;
    let described = Client::new(launch.address, START_LIMIT).get_json(document.path)?;
    let (summary, events) = (folder.join(format!("{name}.json")), folder.join(format!("{name}.ndjson")));
    let printed = folder.join(format!("{name}.txt"));
    let config = workspace::root().join("xtask/schemathesis").join(format!("{name}.toml"));
    let mut command = Command::new(program);
    command.arg("--config-file").arg(config).arg("--no-color").arg("run");
    command.arg(format!("http://{}{}", launch.address, document.path));
    command.args(["--checks", CHECKS, "--continue-on-failure", "--generation-database", "none"]);
    command.args(["--workers", "1", "--request-timeout", "30", "--output-sanitize", "false"]);
    command.args(["--max-examples", &examples(cases).to_string(), "--seed", &seed.to_string()]);
    command.args(["--report", "json,ndjson", "--header", &format!("Authorization: Bearer {token}")]);
    command.arg("--report-json-path").arg(&summary).arg("--report-ndjson-path").arg(&events);
    command.env("SCHEMATHESIS_HOOKS", workspace::root().join("xtask/schemathesis/hooks.py"));
    // It keeps files of its own where it runs; hashes in Python are salted unless told otherwise.
    command.current_dir(folder).env("PYTHONHASHSEED", "0");
    let output = fs::File::create(&printed)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    // 1 is «something failed», which the reports tell better.
    if !matches!(status.code(), Some(0 | 1)) || !summary.is_file() {
        bail!("schemathesis broke down over {name} ({status}):\n{}", log_tail(&printed, 30));
    }
    let run = report::read(&summary, &events, &look::kinds(&described))?;
    println!(
        "{name}: {} cases over {} operations in {:.0} s, {} failures; answers {}",
        run.cases,
        run.operations,
        began.elapsed().as_secs_f64(),
        run.failures.len(),
        run.statuses.iter().map(|(status, n)| format!("{status}: {n}")).collect::<Vec<_>>().join(", ")
    );
    Ok(run)
}

/// Cases for each operation: more when more are asked for, so that a long run is no row of equal short ones.
fn examples(cases: usize) -> usize {
    (cases / 20).clamp(100, 1_000)
}

/// How many requests the server itself says that it answered.
fn answered(ops: SocketAddr) -> Result<usize> {
    let reply = Client::new(ops, START_LIMIT).get("/metrics")?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    let counters = text.lines().filter(|line| line.starts_with("wellorder_http_requests_total{"));
    Ok(counters.filter_map(|line| line.rsplit_once(' ')?.1.parse::<usize>().ok()).sum())
}

/// After all that it still answers, stops when it is told to, has logged no panic, and its data are sound.
fn afterwards(launch: &Launch, server: &mut Wellorder) -> Vec<String> {
    let mut faults = Vec::new();
    if !server.ready_within(START_LIMIT) {
        faults.push("the server is not ready any more".to_owned());
    }
    match server.terminate(STOP_LIMIT) {
        Ok(Some(0)) => {}
        ended => faults.push(format!("SIGTERM did not end it well: {ended:?}")),
    }
    let log = fs::read_to_string(&launch.log).unwrap_or_default();
    faults.extend(log.lines().filter(|line| line.contains("panicked")).map(|line| format!("log: {line}")));
    let mut command = launch.command();
    match capture(command.args(["audit", "--json", "--data"]).arg(&launch.data)) {
        Ok((Some(0), _)) => {}
        Ok((_, out)) => {
            let report: Value = serde_json::from_str(&out).unwrap_or_default();
            faults.push(format!("audit: {}", report["findings"]));
        }
        Err(fault) => faults.push(format!("audit: {fault:#}")),
    }
    faults
}

fn tell(run: &Run, faults: &[String]) {
    for (sort, failure) in &run.failures {
        println!(
            "FAILED {}, {}, status {} ({} times)",
            sort.operation, sort.check, sort.status, failure.times
        );
        println!("  {}", failure.message);
        println!("  {}", failure.curl);
    }
    for fault in faults {
        println!("FAILED {fault}");
    }
}
