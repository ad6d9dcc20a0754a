//! `grpcurl` without any file of ours: reflection tells it what there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::Scene;
use crate::shell::{installed, run as sh};
use crate::workspace;

const MODULE: &str = "github.com/fullstorydev/grpcurl/cmd/grpcurl";
const VERSION: &str = "v1.9.3";
const SERVICE: &str = "orders.service.v1.OrdersService";
const USER: &str = "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11";
const NO_GO: &str = "go is missing: grpcurl is built with it; install it from https://go.dev/dl";
const NO_PROXY: &str = "grpcurl cannot be built: is a proxy of Go modules in reach? Say GOPROXY for one of your own; once it is \
                        installed, no network is needed";

/// Where it is; built when it is not there yet. Whenever the version changes, so does the folder.
pub(super) fn installed_program() -> Result<PathBuf> {
    let folder = workspace::target_dir().join("foreign").join(format!("grpcurl-{VERSION}"));
    let program = folder.join("grpcurl");
    if program.is_file() {
        return Ok(program);
    }
    ensure!(installed("go"), NO_GO);
    println!("installing grpcurl {VERSION} into {}", folder.display());
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let mut install = Command::new("go");
    install.args(["install", &format!("{MODULE}@{VERSION}")]).env("GOBIN", &folder).env("CGO_ENABLED", "0");
    sh(install.current_dir(&folder)).context(NO_PROXY)?;
    Ok(program)
}

/// What it said, and whether that was well.
struct Said {
    ok: bool,
    stdout: String,
    stderr: String,
}

struct Grpcurl<'s> {
    program: &'s Path,
    address: String,
}

impl Grpcurl<'_> {
    fn run(&self, before: &[&str], after: &[&str]) -> Result<Said> {
        let mut command = Command::new(self.program);
        command.args(["-plaintext", "-max-time", "60"]).args(before).arg(&self.address).args(after);
        let out = command.stdin(Stdio::null()).output().context("cannot start grpcurl")?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Said { ok: out.status.success(), stdout: text(out.stdout), stderr: text(out.stderr) })
    }

    /// Calls a method, which must do it; its answer.
    fn call(&self, method: &str, request: &Value) -> Result<Value> {
        let said = self.run(&["-d", &request.to_string()], &[method])?;
        ensure!(said.ok, "{method} {request}: {}", said.stderr);
        serde_json::from_str(&said.stdout).with_context(|| format!("{method}: {}", said.stdout))
    }

    fn ours(&self, method: &str, request: &Value) -> Result<Value> {
        self.call(&format!("{SERVICE}/{method}"), request)
    }

    /// Calls a method, which must refuse it so.
    fn refused(&self, method: &str, request: &Value, parts: &[&str]) -> Result<()> {
        let method = format!("{SERVICE}/{method}");
        let said = self.run(&["-d", &request.to_string()], &[&method])?;
        let is_so = !said.ok && parts.iter().all(|part| said.stderr.contains(part));
        ensure!(is_so, "{method} {request} is not refused with {parts:?}: {}{}", said.stdout, said.stderr);
        Ok(())
    }
}

pub(super) fn check(program: &Path, scene: &Scene) -> Result<String> {
    let grpcurl = Grpcurl { program, address: scene.server.address.to_string() };
    let listed = grpcurl.run(&[], &["list"])?;
    for name in [SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"] {
        ensure!(listed.stdout.lines().any(|line| line == name), "{name} is not listed: {}", listed.stdout);
    }
    for (symbol, part) in [
        (SERVICE, "rpc UpsertOrder ( .orders.service.v1.UpsertOrderRequest )"),
        ("orders.models.v1.OrderModel", "double amount = 3;"),
        ("google.rpc.BadRequest", "repeated .google.rpc.BadRequest.FieldViolation field_violations = 1;"),
    ] {
        let described = grpcurl.run(&[], &["describe", symbol])?;
        ensure!(described.stdout.contains(part), "{symbol}: {}{}", described.stdout, described.stderr);
    }
    let health = grpcurl.call("grpc.health.v1.Health/Check", &json!({ "service": SERVICE }))?;
    ensure!(health == json!({ "status": "SERVING" }), "{health}");
    let health = grpcurl.ours("Health", &json!({}))?;
    ensure!(health == json!({ "status": "ok" }), "{health}");
    calls(&grpcurl, &scene.named("external"))?;
    Ok("reflection, health, every method, and refusals with their details".to_owned())
}

/// Every method, and how it refuses.
fn calls(grpcurl: &Grpcurl<'_>, external: &str) -> Result<()> {
    let payload = json!({ "id": external, "items": [{ "price": 9.95, "qty": 2 }] }).to_string();
    let made = grpcurl.ours("UpsertOrder", &json!({ "user_id": USER, "payload_json": payload }))?;
    ensure!(made["status"] == "created", "{made}");
    let id = &made["orderId"];
    let found = grpcurl.ours("GetOrderByID", &json!({ "order_id": id }))?;
    let order = &found["order"];
    let shown =
        json!([order["orderId"], order["userId"], order["amount"], order["status"], order["payloadJson"]]);
    ensure!(shown == json!([id, USER, 19.9, "done", payload]), "{found}");
    let request = json!({ "external_id": external, "user_id": USER });
    let by_external = grpcurl.ours("GetOrderByExternalID", &request)?;
    ensure!(by_external == found, "{by_external} is not {found}");
    let update = json!({ "order_id": id, "user_id": USER, "payload_json": "{\"amount\": \"1.50\"}" });
    let updated = grpcurl.ours("UpsertOrder", &update)?;
    ensure!(updated == json!({ "orderId": id, "status": "updated" }), "{updated}");
    let delete = json!({ "order_id": id, "user_id": USER, "status": "deleted" });
    let deleted = grpcurl.ours("UpsertOrder", &delete)?;
    ensure!(deleted == json!({ "orderId": id, "status": "deleted" }), "{deleted}");

    let details =
        ["Code: FailedPrecondition", "type.googleapis.com/google.rpc.PreconditionFailure", "violations"];
    grpcurl.refused("UpsertOrder", &delete, &details)?;
    let nobody = json!({ "order_id": "00000000-0000-4000-8000-000000000000" });
    grpcurl.refused("GetOrderByID", &nobody, &["Code: NotFound"])?;
    let details =
        ["Code: InvalidArgument", "type.googleapis.com/google.rpc.BadRequest", "\"field\": \"user_id\""];
    grpcurl.refused("UpsertOrder", &json!({ "user_id": "x", "payload_json": "{}" }), &details)?;
    grpcurl.refused("GetOrderByID", &json!({ "order_id": "17" }), &["Code: InvalidArgument"])?;
    let no_user = json!({ "external_id": external, "user_id": "x" });
    grpcurl.refused("GetOrderByExternalID", &no_user, &["Code: InvalidArgument"])
}
