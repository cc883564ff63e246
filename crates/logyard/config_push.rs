//! Where the agent sends to: one store, and more if they are named.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use logyard_agent::{Destination, DestinationKind, WhenFull};
use logyard_client::{Client, ClientOptions, ClientSettings, Login, Proxy, Tls, TlsFiles, Token};
use logyard_model::{Tenant, Tenants};
use logyard_server::Secret;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};

/// Name of the destination that `push` itself is.
pub(crate) const FIRST_NAME: &str = "push";

/// Value of `proxy` that has the environment name one.
const FROM_ENVIRONMENT: &str = "environment";

/// Where the agent sends to; with `logyard all`, and without `also`, to the same process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub struct PushSettings {
    /// Address of the store. Default `http://logyard:3100`, the name such a container usually has.
    /// With `logyard all` it is the same process, whatever stands here.
    #[serde(serialize_with = "hiding_password")]
    pub url: String,
    /// How it is spoken to.
    #[serde(flatten)]
    pub delivery: DeliverySettings,
    /// More destinations: each gets everything too, at its own pace.
    pub also: Vec<DestinationSettings>,
}

/// One more destination.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false))]
pub struct DestinationSettings {
    /// Name in metrics, in the log and in the spool: letters, digits, `-` and `_`. Renamed, it is another one. Default
    /// `also-1` and so on.
    pub name: String,
    /// Address of the store, such as `http://loki:3100`.
    #[serde(serialize_with = "hiding_password")]
    pub url: String,
    /// How it is spoken to.
    #[serde(flatten)]
    pub delivery: DeliverySettings,
}

/// How a destination is spoken to; its keys stand beside the address. That no unknown key stands there, too, is checked
/// against the schema: serde cannot, for keys of two structs side by side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DeliverySettings {
    /// What is spoken to it. `logyard`: the native push, each batch stored once. `loki`: the push of a Loki, at
    /// `/loki/api/v1/push` behind `url`. `otlp`: the export of OpenTelemetry's logs over HTTP, at `/v1/logs` behind `url`.
    /// `auto`: `logyard` or `loki`, by what answers there. Default `logyard`.
    pub kind: DestinationKind,
    /// Tenant of everything that is sent. Default empty: none is named.
    pub tenant: String,
    /// Token that the store asks for, see server.tokens. Default empty: none. Better kept in a file.
    pub token: Secret,
    /// File that holds the token, read at start; white space around it does not count.
    pub token_file: String,
    /// User to log in as, instead of a token. Default empty: none.
    pub username: String,
    /// Password of `username`. Better kept in a file.
    pub password: Secret,
    /// File that holds the password, read at start; white space around it does not count.
    pub password_file: String,
    /// More headers of every push. Default none.
    pub headers: BTreeMap<String, Secret>,
    /// Through whom it is called: the address of a proxy, or `environment` for what `HTTP_PROXY`, `HTTPS_PROXY` and
    /// `NO_PROXY` say. Default empty: nobody, whatever the environment says.
    #[serde(serialize_with = "hiding_password")]
    pub proxy: String,
    /// Whom to trust and what to show, with a `url` that begins with `https`.
    pub tls: PushTlsSettings,
    /// Longest time for one push until its acknowledgement. Default 30 s.
    pub timeout_secs: u64,
    /// What happens when no more may wait for it. `wait`: reading stops, for all destinations, and logs wait where they are.
    /// `drop_oldest`: its oldest batches are dropped and counted, and the others go on. Default `wait`.
    pub when_full: WhenFull,
    /// Most bytes, compressed, that wait for it. Default 0: as many as agent.spool.bytes_max lets wait for all.
    pub spool_bytes_max: u64,
}

/// Returns an address with `***` for the password in it: of `http://user:password@host` the user is shown, what stands there
/// alone may be a token.
pub(crate) fn without_password(address: &str) -> String {
    let Some((before, host)) = address.rsplit_once('@') else { return address.to_owned() };
    let (scheme, login) = before.split_once("://").map_or(("", before), |(scheme, login)| (scheme, login));
    let user = login.split_once(':').map_or(String::new(), |(user, _)| format!("{user}:"));
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{user}***@{host}")
}

fn hiding_password<S: Serializer>(address: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&without_password(address))
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            kind: DestinationKind::Logyard,
            tenant: String::new(),
            token: Secret::default(),
            token_file: String::new(),
            username: String::new(),
            password: Secret::default(),
            password_file: String::new(),
            headers: BTreeMap::new(),
            proxy: String::new(),
            tls: PushTlsSettings::default(),
            timeout_secs: 30,
            when_full: WhenFull::Wait,
            spool_bytes_max: 0,
        }
    }
}

impl Default for PushSettings {
    fn default() -> Self {
        Self {
            url: "http://logyard:3100".to_owned(),
            delivery: DeliverySettings::default(),
            also: Vec::new(),
        }
    }
}

impl PushSettings {
    /// Returns all destinations by name, the first one first.
    pub(crate) fn all(&self) -> Vec<DestinationSettings> {
        let name = |number: usize, also: &DestinationSettings| match also.name.is_empty() {
            true => format!("also-{}", number + 1),
            false => also.name.clone(),
        };
        let also = self.also.iter().enumerate();
        let also =
            also.map(|(number, also)| DestinationSettings { name: name(number, also), ..also.clone() });
        let first = DestinationSettings {
            name: FIRST_NAME.to_owned(),
            url: self.url.clone(),
            delivery: self.delivery.clone(),
        };
        std::iter::once(first).chain(also).collect()
    }
}

impl DestinationSettings {
    /// Returns the key of the settings, for messages.
    pub(crate) fn key(&self, number: usize) -> String {
        match number {
            0 => "push".to_owned(),
            _ => format!("push.also.{}", number - 1),
        }
    }

    /// Makes the destination; `tls` is read from its files. Errors name the key.
    pub(crate) fn destination(&self, number: usize, tls: Option<Tls>) -> anyhow::Result<Destination> {
        let key = self.key(number);
        anyhow::ensure!(
            Destination::is_name(&self.name),
            "cannot use {key}.name {:?}: want 1 to 64 letters, digits, - and _",
            self.name
        );
        let delivery = &self.delivery;
        let tenant = match delivery.tenant.as_str() {
            "" => None,
            name => Some(Tenant::new(name).with_context(|| format!("cannot use {key}.tenant {name:?}"))?),
        };
        let login = (!delivery.username.is_empty()).then(|| Login {
            username: delivery.username.clone(),
            password: delivery.password.expose().to_owned(),
        });
        anyhow::ensure!(
            login.is_some() || delivery.password.is_empty(),
            "{key}: a password, and no username"
        );
        let header = |(name, value): (&String, &Secret)| (name.clone(), value.expose().to_owned());
        let options = ClientOptions {
            login,
            headers: delivery.headers.iter().map(header).collect(),
            proxy: match delivery.proxy.as_str() {
                "" => Proxy::None,
                FROM_ENVIRONMENT => Proxy::Environment,
                url => Proxy::Url(url.to_owned()),
            },
            ..ClientOptions::default()
        };
        let settings = ClientSettings {
            timeout: Duration::from_secs(delivery.timeout_secs),
            org_id: tenant.map(Tenants::from),
            token: Token::new(delivery.token.expose()),
            tls,
            user_agent: concat!("logyard-agent/", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let client = Client::with_options(self.base(), settings, options)
            .with_context(|| format!("cannot use {key}.url"))?;
        Ok(Destination {
            name: self.name.clone(),
            kind: delivery.kind,
            client,
            when_full: delivery.when_full,
            spool_bytes_max: delivery.spool_bytes_max,
        })
    }

    /// People write the address of a Loki or a receiver with its path.
    fn base(&self) -> &str {
        let path = match self.delivery.kind {
            DestinationKind::Logyard => return &self.url,
            DestinationKind::Loki | DestinationKind::Auto => "/loki/api/v1/push",
            DestinationKind::Otlp => "/v1/logs",
        };
        self.url.strip_suffix(path).unwrap_or(&self.url)
    }
}

/// TLS of an agent on its own; the files are read at start, and again when they change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PushTlsSettings {
    /// File of the authorities that are trusted, in PEM; of a certificate that nobody else signed, that
    /// certificate. Default empty: those of this machine.
    pub ca_file: String,
    /// File of the agent's own certificate, in PEM, for a store with server.tls.client_ca_file. Default empty.
    pub cert_file: String,
    /// File of its private key, in PEM, not encrypted. Default empty.
    pub key_file: String,
    /// Name that the store's certificate must bear. Default empty: that of `url`.
    pub server_name: String,
}

impl PushTlsSettings {
    /// Returns the files as the client reads them.
    pub(crate) fn files(&self) -> TlsFiles {
        TlsFiles {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
            server_name: self.server_name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(also: DestinationSettings) -> anyhow::Result<Destination> {
        let push = PushSettings { also: vec![also], ..PushSettings::default() };
        push.all()[1].destination(1, None)
    }

    fn loki(url: &str) -> DestinationSettings {
        let delivery = DeliverySettings { kind: DestinationKind::Loki, ..DeliverySettings::default() };
        DestinationSettings { url: url.to_owned(), delivery, ..DestinationSettings::default() }
    }

    fn with(url: &str, change: impl FnOnce(&mut DeliverySettings)) -> DestinationSettings {
        let mut settings = loki(url);
        change(&mut settings.delivery);
        settings
    }

    #[test]
    fn one_destination_is_what_there_is_without_more() {
        let all = PushSettings::default().all();
        assert_eq!((all.len(), &*all[0].name, &*all[0].url), (1, "push", "http://logyard:3100"));
        let first = all[0].destination(0, None).unwrap();
        assert_eq!((first.kind, first.client.base()), (DestinationKind::Logyard, "http://logyard:3100"));
    }

    #[test]
    fn passwords_of_addresses_are_not_shown() {
        for (address, want) in [
            ("http://logyard:3100", "http://logyard:3100"),
            ("environment", "environment"),
            ("https://7:glc_x@logs.example/a", "https://7:***@logs.example/a"),
            ("http://me:p@ss:/w?d@proxy:3128", "http://me:***@proxy:3128"),
            ("http://token@proxy", "http://***@proxy"),
            ("me:sesame@proxy", "me:***@proxy"),
            ("", ""),
        ] {
            assert_eq!(without_password(address), want);
        }
    }

    #[test]
    fn addresses_may_bear_the_path_that_is_pushed_to() {
        for (kind, url, want) in [
            (DestinationKind::Loki, "http://a:1/loki/api/v1/push", "http://a:1"),
            (DestinationKind::Auto, "http://a:1/x/loki/api/v1/push", "http://a:1/x"),
            (DestinationKind::Otlp, "http://a:1/otlp/v1/logs", "http://a:1/otlp"),
            (DestinationKind::Otlp, "http://a:1/otlp", "http://a:1/otlp"),
        ] {
            let destination = made(with(url, |delivery| delivery.kind = kind)).unwrap();
            assert_eq!((destination.client.base(), &*destination.name), (want, "also-1"), "{url}");
        }
    }

    #[test]
    fn faults_name_their_key_and_no_secret() {
        let fault = |settings| format!("{:#}", made(settings).unwrap_err());
        let secret = || Secret::new("sesame");
        assert!(fault(loki("")).contains("push.also.0.url"), "{}", fault(loki("")));
        let named = DestinationSettings { name: "a/b".to_owned(), ..loki("http://a") };
        assert!(fault(named).contains("push.also.0.name"));
        let password = with("http://a", |delivery| delivery.password = secret());
        assert!(fault(password).contains("no username"));
        let both = with("http://a", |delivery| {
            (delivery.username, delivery.token) = ("me".to_owned(), secret());
        });
        assert!(!fault(both.clone()).contains("sesame") && !format!("{both:?}").contains("sesame"));
        let proxy = with("http://a", |delivery| delivery.proxy = "http://me:sesame@:x".to_owned());
        assert!(fault(proxy.clone()).contains("proxy") && !fault(proxy).contains("sesame"));
    }
}
