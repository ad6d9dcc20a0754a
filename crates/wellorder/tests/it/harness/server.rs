//! A server in a process of its own.

use super::{Ended, Home, Lines, PATIENCE, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::{Child, Stdio};
use std::sync::Arc;
use testkit::http::{Client, Connection, Reply};

/// How to start a server.
#[derive(Clone)]
pub(crate) struct Builder {
    home: Arc<Home>,
    command: &'static str,
    listen: &'static str,
    args: Vec<String>,
    variables: Vec<(String, String)>,
    json: bool,
    keeps: bool,
    folder: &'static str,
}

impl Builder {
    /// A server on the data folder of `home`, fast enough for tests.
    pub(crate) fn on(home: Arc<Home>) -> Self {
        Self {
            home,
            command: "dev",
            listen: "127.0.0.1:0",
            args: Vec::new(),
            variables: Vec::new(),
            json: true,
            keeps: true,
            folder: "",
        }
        .env("WORKER_PROCESSING_DELAY_MS", "0")
        .env("WELLORDER_WORKER_BACKOFF_BASE_MS", "10")
        .env("WELLORDER_FOLLOWER_POLL_MS", "20")
    }

    /// A server for others, not a developer's own.
    pub(crate) fn serving(mut self) -> Self {
        self.command = "serve";
        // Each server of the tests needs a port of its own.
        self.env("WELLORDER_OPS", "127.0.0.1:0")
    }

    /// At this address.
    pub(crate) fn listening(mut self, address: &'static str) -> Self {
        self.listen = address;
        self
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.args.extend(args.iter().map(|&arg| arg.to_owned()));
        self
    }

    /// Sets a variable; the last word counts.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The processor `http` behind this address.
    pub(crate) fn processor(self, url: &str) -> Self {
        self.env("WELLORDER_PROCESSOR", "http").env("WELLORDER_HTTP_PROCESSOR_URL", url)
    }

    /// Takes orders in and does nothing with them.
    pub(crate) fn api_alone(self) -> Self {
        self.args(&["--role", "api"])
    }

    /// Prints its start for people.
    pub(crate) fn for_people(mut self) -> Self {
        self.json = false;
        self
    }

    /// With this folder of its home as the working directory.
    pub(crate) fn inside(mut self, folder: &'static str) -> Self {
        self.folder = folder;
        self
    }

    /// Without `--data`.
    pub(crate) fn without_data(mut self) -> Self {
        self.keeps = false;
        self
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(self) -> Server {
        match self.try_start().await {
            Ok(server) => server,
            Err(ended) => panic!("the server did not start: {ended:?}"),
        }
    }

    /// Starts it and waits until it answers, or has ended.
    pub(crate) async fn try_start(self) -> Result<Server, Ended> {
        let process = self.spawn();
        self.until_started(process).await
    }

    /// Starts it where it cannot begin yet, and waits until it says where it is.
    pub(crate) async fn begin(self) -> Starting {
        let lock = self.home.data().join("wellorder.lock");
        drop(std::fs::remove_file(&lock));
        let process = self.spawn();
        let address = eventually("the address in the lock file", async || {
            let said: Value = serde_json::from_slice(&std::fs::read(&lock).ok()?).ok()?;
            said["address"].as_str()?.trim_start_matches("https://").parse().ok()
        })
        .await;
        Starting { builder: self, process, address, client: Client::new(address) }
    }

    async fn until_started(self, process: Process) -> Result<Server, Ended> {
        let started = process.stdout.find("the start", |line| started(line, self.json)).await;
        match started {
            Some(started) => {
                let address = started["address"].as_str().unwrap().parse().unwrap();
                Ok(Server { builder: self, process, started, address, client: Client::new(address) })
            }
            None => Err(process.ended().await),
        }
    }

    fn spawn(&self) -> Process {
        let mut args = vec![self.command, "--listen", self.listen];
        let data = self.home.data().display().to_string();
        if self.keeps {
            args.extend(["--data", &data]);
        }
        if self.json {
            args.push("--json");
        }
        args.extend(self.args.iter().map(String::as_str));
        let mut command = self.home.command(&args);
        command.current_dir(self.home.path().join(self.folder));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Lines::gather(child.stdout.take().unwrap());
        let stderr = Lines::gather(child.stderr.take().unwrap());
        Process { child, stdout, stderr }
    }
}

/// A server that cannot begin yet. Dropping it kills it.
pub(crate) struct Starting {
    builder: Builder,
    process: Process,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
}

impl Starting {
    pub(crate) fn stderr(&self) -> &Lines {
        &self.process.stderr
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits until it has begun.
    pub(crate) async fn started(self) -> Server {
        match self.builder.until_started(self.process).await {
            Ok(server) => server,
            Err(ended) => panic!("the server did not start: {ended:?}"),
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Ended {
        self.process.ended().await
    }
}

/// What a line of the start tells: all of it as JSON, else the address alone.
fn started(line: &str, json: bool) -> Option<Value> {
    if json {
        return serde_json::from_str(line).ok().filter(|value: &Value| value["address"].is_string());
    }
    let (_, address) = line.split_once(") on http://")?;
    Some(json!({ "address": address.trim() }))
}

struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

impl Process {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    async fn ended(mut self) -> Ended {
        let status = eventually("the end of the process", async || self.child.try_wait().unwrap()).await;
        let (stdout, stderr) = (self.stdout.whole().await, self.stderr.whole().await);
        Ended { status, stdout, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A server that answers. Dropping it kills it.
pub(crate) struct Server {
    builder: Builder,
    process: Process,
    /// What it said at its start.
    pub(crate) started: Value,
    pub(crate) address: SocketAddr,
    client: Client,
}

impl Server {
    /// A server on a folder of its own.
    pub(crate) fn builder() -> Builder {
        Home::new().server()
    }

    pub(crate) fn home(&self) -> Arc<Home> {
        Arc::clone(&self.builder.home)
    }

    pub(crate) fn stderr(&self) -> &Lines {
        &self.process.stderr
    }

    pub(crate) fn stdout(&self) -> &Lines {
        &self.process.stdout
    }

    pub(crate) fn client(&self) -> Client {
        self.client
    }

    /// A client of its port for operators.
    pub(crate) fn ops(&self) -> Client {
        Client::new(self.started["ops"].as_str().unwrap().parse().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.child.id()
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        patiently(path, self.client.get(path)).await
    }

    pub(crate) async fn post(&self, path: &str, json: &str) -> Reply {
        patiently(path, self.client.post(path, json)).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        patiently(path, self.client.send(method, path, headers, body)).await
    }

    /// Sends these very bytes; `None` when the server hangs up without a reply.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> Option<Reply> {
        let mut connection = self.client.connect().await;
        connection.write(bytes).await;
        patiently("raw bytes", connection.reply()).await
    }

    pub(crate) async fn connect(&self) -> Connection {
        self.client.connect().await
    }

    /// GET, which must succeed with JSON.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let reply = self.get(path).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// Takes an order in over `/v1`, which must succeed; returns it.
    pub(crate) async fn accept(&self, order: &Value) -> Value {
        let reply = self.post("/v1/orders", &order.to_string()).await;
        assert_eq!(reply.status, 201, "{order}: {}", reply.text());
        reply.json()
    }

    /// The order with that reference, of the source `api`.
    pub(crate) async fn by_reference(&self, reference: &str) -> Option<Value> {
        let page = self.json(&format!("/v1/orders?reference={reference}")).await;
        page["orders"].get(0).cloned()
    }

    /// Asks until the JSON at `path` is as `is` wants it.
    pub(crate) async fn until(&self, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        eventually(path, async || {
            let reply = self.get(path).await;
            (reply.status == 200).then(|| reply.json()).filter(&is)
        })
        .await
    }

    /// Waits for this line of the metrics.
    pub(crate) async fn until_metric(&self, line: &str) {
        let seen = async || self.get("/metrics").await.text().lines().any(|one| one == line).then_some(());
        eventually(line, seen).await;
    }

    /// Waits until the order of `/v1` is in this state of processing; returns it.
    pub(crate) async fn until_order(&self, order: &Value, processing: &str) -> Value {
        let path = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
        self.until(&path, |order| order["processing"] == processing).await
    }

    /// The types of an order's events, in their order.
    pub(crate) async fn history(&self, order: &Value) -> Vec<String> {
        let path = format!("/v1/orders/{}/events", order["order_id"].as_str().unwrap());
        let page = self.json(&path).await;
        let events = page["events"].as_array().unwrap();
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    /// All events of the feed, page by page, and the cursor behind them.
    pub(crate) async fn feed(&self, limit: u32) -> (Vec<Value>, String) {
        let (mut events, mut after) = (Vec::new(), None::<String>);
        loop {
            let place = after.as_ref().map_or(String::new(), |after| format!("&after={after}"));
            let page = self.json(&format!("/v1/events?limit={limit}{place}")).await;
            let next = page["next"].as_str().unwrap().to_owned();
            let found = page["events"].as_array().unwrap();
            assert!(found.len() <= limit as usize, "{page}");
            if found.is_empty() && after.as_ref() == Some(&next) {
                return (events, next);
            }
            events.extend(found.iter().cloned());
            after = Some(next);
        }
    }

    /// Waits until the follower `ndjson` has carried everything on; returns what lies in its file.
    pub(crate) async fn carried(&self) -> Vec<Value> {
        self.until("/v1/followers/ndjson", |follower| follower["lag"] == 0).await;
        self.home().ndjson()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Ended {
        self.process.ended().await
    }

    /// SIGTERM, and its end.
    pub(crate) async fn terminate(self) -> Ended {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// SIGKILL, and its end.
    pub(crate) async fn kill(self) -> Ended {
        self.signal(Signal::KILL);
        let ended = self.ended().await;
        assert!(ended.was_killed(), "{ended:?}");
        ended
    }

    /// SIGKILL, and a new process with the same folder, arguments and environment.
    pub(crate) async fn restart(self) -> Self {
        let builder = self.builder.clone();
        self.kill().await;
        builder.start().await
    }
}

async fn patiently<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("no reply: {what}"))
}

/// Posts JSON to a server that may die meanwhile; `None` when no whole reply comes. The connection is kept.
pub(crate) async fn post_in_peril(
    connection: &mut Connection,
    path: &str,
    headers: &[(&str, &str)],
    json: &str,
) -> Option<Reply> {
    let headers = [headers, &[("content-type", "application/json")]].concat();
    connection.write_request("POST", path, &headers, json.as_bytes(), true).await;
    patiently(path, connection.reply()).await
}
