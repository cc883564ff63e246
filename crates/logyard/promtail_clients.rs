//! What the clients of a `promtail.yaml` become here: the first one is where the agent pushes to, the others come beside it.

use logyard_agent::{Destination, DestinationKind};
use logyard_rules::Step;
use logyard_server::Secret;
use serde_yaml_ng::Value;

use crate::config::{DeliverySettings, DestinationSettings, PushSettings, PushTlsSettings};
use crate::config_units::Unit;
use crate::promtail::{PromtailClient, PromtailFile, place};
use crate::promtail_map::{Mapped, put};

/// Path of the push endpoint behind the address of a store.
const PUSH_PATH: &str = "/loki/api/v1/push";

impl Mapped {
    /// Takes where to push to; returns the labels that everything gets.
    pub(crate) fn clients(&mut self, file: &PromtailFile) -> Vec<(String, String)> {
        let listed = file.clients.iter().flatten().enumerate();
        let listed = listed.map(|(index, client)| (place!["clients", index], client));
        let all: Vec<(Vec<Step>, &PromtailClient)> =
            listed.chain(file.client.iter().map(|client| (place!["client"], client))).collect();
        let Some((at, first)) = all.first() else { return Vec::new() };
        let made = self.client(at, first);
        self.put_first(at, first, made);
        for (number, (at, client)) in all.iter().enumerate().skip(1) {
            let mut made = self.client(at, client);
            made.name = match client.name.as_deref() {
                Some(name) if Destination::is_name(name) => name.to_owned(),
                _ => format!("client-{}", number + 1),
            };
            if client.external_labels != first.external_labels {
                let text = "is refused: every store gets the same streams; give all clients the same labels";
                self.refuse([at.clone(), place!["external_labels"]].concat(), text);
            }
            self.settings.push.also.push(made);
        }
        first.external_labels.clone().unwrap_or_default().into_iter().collect()
    }

    /// Puts a client in the place of the first; what was given otherwise stays.
    fn put_first(&mut self, at: &[Step], client: &PromtailClient, made: DestinationSettings) {
        let PushSettings { url, delivery: defaults, .. } = PushSettings::default();
        let push = &mut self.settings.push;
        let (now, made_url, made) = (&mut push.delivery, made.url, made.delivery);
        if push.url == url && !made_url.is_empty() {
            put(&mut now.kind, &defaults.kind, made.kind);
        }
        if !made_url.is_empty() {
            put(&mut push.url, &url, made_url);
        }
        put(&mut now.tenant, &defaults.tenant, made.tenant);
        put(&mut now.timeout_secs, &defaults.timeout_secs, made.timeout_secs);
        put(&mut now.tls, &defaults.tls, made.tls);
        put(&mut now.headers, &defaults.headers, made.headers);
        put(&mut now.proxy, &defaults.proxy, made.proxy);
        let is_let_in = !now.token.is_empty() || !now.token_file.is_empty() || !now.username.is_empty();
        if !is_let_in {
            (now.token, now.token_file) = (made.token, made.token_file);
            (now.username, now.password) = (made.username, made.password);
            now.password_file = made.password_file;
        }
        if client.name.is_some() {
            self.note(
                [at.to_vec(), place!["name"]].concat(),
                "has no effect: the first client is called push",
            );
        }
    }

    fn client(&mut self, at: &[Step], client: &PromtailClient) -> DestinationSettings {
        let below = |key: &str| [at.to_vec(), place![key]].concat();
        let mut made = DeliverySettings { kind: DestinationKind::Auto, ..DeliverySettings::default() };
        let mut url = String::new();
        let parts = client.url.strip_suffix(PUSH_PATH).and_then(|address| address.split_once("://"));
        match parts {
            Some((scheme @ ("http" | "https"), rest)) if !rest.is_empty() => {
                url = format!("{scheme}://{rest}");
            }
            _ => self
                .refuse(below("url"), format!("is refused: want http://<host>:<port>{PUSH_PATH} or https")),
        }
        made.tenant = client.tenant_id.clone().unwrap_or_default();
        if let Some(timeout) = &client.timeout {
            match Unit::of_key("timeout_ms").and_then(|unit| unit.parse(timeout)) {
                Some(ms) => {
                    let (got, least) = (ms / 1_000, made.timeout_secs);
                    made.timeout_secs = got.max(least);
                    if got < least {
                        let text =
                            format!("is raised to {least} s: a push ends when the store has synced it");
                        self.note(below("timeout"), text);
                    }
                }
                None => self
                    .refuse(below("timeout"), format!("is refused: {timeout:?} is no duration such as 10s")),
            }
        }
        self.credentials(at, client, &mut made);
        self.certificates(at, client, &mut made);
        self.way(at, client, &mut made);
        let effectless = [
            ("batchwait", client.batchwait.is_some(), "has no effect: a batch waits 0.2 s, under load 1 s"),
            ("batchsize", client.batchsize.is_some(), "has no effect: a batch holds up to 1 MiB of lines"),
            (
                "backoff_config",
                client.backoff_config.is_some(),
                "has no effect: a push is tried again until the store takes it, and nothing is given up",
            ),
            ("follow_redirects", client.follow_redirects.is_some(), "has no effect"),
            ("enable_http2", client.enable_http2.is_some(), "has no effect: HTTP/1.1 is spoken"),
            (
                "drop_rate_limited_batches",
                client.drop_rate_limited_batches == Some(true),
                "has no effect: batches wait until the store takes them",
            ),
        ];
        self.note_given(at, effectless);
        let refused = [
            (
                "oauth2",
                client.oauth2.is_some(),
                "is refused: no tokens are fetched; set bearer_token_file, which something else renews, or basic_auth",
            ),
            (
                "proxy_connect_header",
                client.proxy_connect_header.is_some(),
                "is refused: put user and password into proxy_url",
            ),
        ];
        self.refuse_given(at, refused);
        DestinationSettings { url, delivery: made, ..DestinationSettings::default() }
    }

    /// Takes headers and proxies.
    fn way(&mut self, at: &[Step], client: &PromtailClient, made: &mut DeliverySettings) {
        let below = |key: &str| [at.to_vec(), place![key]].concat();
        for (name, value) in client.headers.iter().flatten() {
            made.headers.insert(name.clone(), Secret::new(value.as_str()));
        }
        let is_from_environment =
            matches!(client.proxy_from_environment.as_ref().map(|value| &value.0), Some(Value::Bool(true)));
        made.proxy = match client.proxy_url.as_deref().unwrap_or_default() {
            "" if is_from_environment => "environment".to_owned(),
            url => url.to_owned(),
        };
        if client.no_proxy.is_some() {
            match made.proxy.is_empty() {
                true => self.note(below("no_proxy"), "has no effect: there is no proxy"),
                false => self.refuse(
                    below("no_proxy"),
                    "is refused: set proxy_from_environment, and NO_PROXY in the environment",
                ),
            }
        }
    }

    fn certificates(&mut self, at: &[Step], client: &PromtailClient, made: &mut DeliverySettings) {
        let Some(tls) = &client.tls_config else { return };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        made.tls = PushTlsSettings {
            ca_file: text(&tls.ca_file),
            cert_file: text(&tls.cert_file),
            key_file: text(&tls.key_file),
            server_name: text(&tls.server_name),
        };
        if tls.insecure_skip_verify == Some(true) {
            let key = [at.to_vec(), place!["tls_config", "insecure_skip_verify"]].concat();
            self.refuse(
                key,
                "is refused: name the store's certificate, or that of its authority, as ca_file",
            );
        }
    }

    /// Takes what lets the agent in: a token, or a user with a password.
    fn credentials(&mut self, at: &[Step], client: &PromtailClient, made: &mut DeliverySettings) {
        let below = |key: &str| [at.to_vec(), place![key]].concat();
        let authorization = client.authorization.clone().unwrap_or_default();
        let is_bearer = authorization
            .kind
            .as_deref()
            .is_none_or(|kind| kind.is_empty() || kind.eq_ignore_ascii_case("bearer"));
        if !is_bearer {
            let text = "is refused: want Bearer, or basic_auth with its user and password";
            self.refuse([below("authorization"), place!["type"]].concat(), text);
        }
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let token = given(&client.bearer_token).or(given(&authorization.credentials));
        let file = given(&client.bearer_token_file).or(given(&authorization.credentials_file));
        let basic = client.basic_auth.clone().unwrap_or_default();
        let (user, password) = (given(&basic.username), given(&basic.password));
        let password_file = given(&basic.password_file);
        let faults = [
            (
                token.is_some() && file.is_some(),
                "is refused: it has both a token and a file of one; remove one",
            ),
            (
                user.is_some() && (token.is_some() || file.is_some()),
                "is refused: it has both a token and a user; remove one",
            ),
            (
                password.is_some() && password_file.is_some(),
                "is refused: it has both a password and a file of one; remove one",
            ),
        ];
        if let Some((_, text)) = faults.into_iter().find(|(is_fault, _)| *is_fault) {
            self.refuse(at.to_vec(), text);
            return;
        }
        made.token = token.map(|token| Secret::new(token.as_str())).unwrap_or_default();
        made.token_file = file.unwrap_or_default();
        made.username = user.unwrap_or_default();
        made.password = password.map(|password| Secret::new(password.as_str())).unwrap_or_default();
        made.password_file = password_file.unwrap_or_default();
    }
}
