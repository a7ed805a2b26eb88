//! Where a broker listens and what it tells clients: `listeners`, `advertised.listeners`,
//! `listener.security.protocol.map`, `controller.listener.names`, `inter.broker.listener.name`. Pure: names are not
//! resolved here.

use super::error::ConfigError;

/// A socket to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// The host to bind, a name or an address; none for all interfaces.
    pub host: Option<String>,
    /// The port to bind; 0 for any.
    pub port: u16,
    /// What clients of this listener are told to connect to.
    pub advertised_host: String,
    /// Likewise; 0 is the port that was bound.
    pub advertised_port: u16,
    /// Whether clients are told of it at all.
    pub advertised: bool,
    /// Whether the host above stands for the machine's own name, which [`super::BrokerConfig::set_hostname`] fills in.
    pub(super) advertises_own_name: bool,
}

/// The broker's and the controller's listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listeners {
    pub(super) broker: Vec<Listener>,
    pub(super) controller: Vec<Listener>,
}

/// What the settings say; lists as lists.
pub(super) struct Given {
    pub(super) listeners: Vec<String>,
    pub(super) advertised: Option<Vec<String>>,
    /// The text of `listener.security.protocol.map` and whether it was given.
    pub(super) protocol_map: (String, bool),
    pub(super) controller_names: Vec<String>,
    pub(super) inter_broker_name: Option<String>,
    /// Whether `security.inter.broker.protocol` was given, and as what.
    pub(super) inter_broker_protocol: Option<String>,
}

impl Given {
    pub(super) fn parse(self) -> Result<Listeners, ConfigError> {
        let protocols = self.protocols()?;
        let mut listeners = self.bound()?;
        for listener in &listeners {
            match protocols.iter().find(|(name, _)| *name == listener.name) {
                Some((_, protocol)) if protocol == "PLAINTEXT" => {}
                Some((name, protocol)) => {
                    let shown = self.listeners.join(",");
                    let must = format!("listener {name} is {protocol}, which is not yet served, only PLAINTEXT is");
                    return Err(ConfigError::value("listeners", shown, must));
                }
                None => {
                    let must = format!("must have an entry for the listener {}", listener.name);
                    return Err(ConfigError::value("listener.security.protocol.map", &self.protocol_map.0, must));
                }
            }
        }
        self.advertise(&mut listeners)?;
        let is_controller = |name: &String| self.controller_names.iter().any(|c| c.eq_ignore_ascii_case(name));
        let (controller, broker): (Vec<_>, Vec<_>) = listeners.into_iter().partition(|l| is_controller(&l.name));
        if broker.is_empty() {
            let must = "must have one that is not in controller.listener.names";
            return Err(ConfigError::value("listeners", self.listeners.join(","), must));
        }
        self.check_inter_broker(&broker)?;
        Ok(Listeners { broker, controller })
    }

    /// The protocol of each listener name. As in Kafka, without a map of its own a controller's listener is PLAINTEXT.
    fn protocols(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let (text, given) = &self.protocol_map;
        let mut protocols: Vec<(String, String)> = Vec::new();
        for entry in text.split(',').map(str::trim).filter(|e| !e.is_empty()) {
            let wrong = |must: &str| ConfigError::value("listener.security.protocol.map", text, must);
            let (name, protocol) = entry.rsplit_once(':').ok_or_else(|| wrong("must be a list of NAME:PROTOCOL"))?;
            let (name, protocol) = (name.trim().to_uppercase(), protocol.trim().to_uppercase());
            if !["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"].contains(&protocol.as_str()) {
                return Err(wrong("protocols must be PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"));
            }
            if protocols.iter().any(|(n, _)| *n == name) {
                return Err(wrong("must not name a listener twice"));
            }
            protocols.push((name, protocol));
        }
        if !given {
            for name in &self.controller_names {
                let name = name.to_uppercase();
                if !protocols.iter().any(|(n, _)| *n == name) {
                    protocols.push((name, "PLAINTEXT".to_owned()));
                }
            }
        }
        Ok(protocols)
    }

    fn bound(&self) -> Result<Vec<Listener>, ConfigError> {
        let wrong = |must: String| ConfigError::value("listeners", self.listeners.join(","), must);
        let mut listeners: Vec<Listener> = Vec::new();
        for text in &self.listeners {
            let Some((name, host, port)) = end_point(text) else {
                return Err(wrong(format!("{text} must be of the form NAME://host:port")));
            };
            if let Some(other) = listeners.iter().find(|l| l.name == name) {
                return Err(wrong(format!("must not name {} twice", other.name)));
            }
            let clash =
                |l: &&Listener| port != 0 && l.port == port && !both_families(l.host.as_deref(), host.as_deref());
            if let Some(other) = listeners.iter().find(clash) {
                return Err(wrong(format!("{} and {name} must not share port {port}", other.name)));
            }
            listeners.push(Listener {
                name,
                advertised_host: host.clone().unwrap_or_else(|| "localhost".to_owned()),
                advertised_port: port,
                advertised: self.advertised.is_none(),
                advertises_own_name: host.is_none(),
                host,
                port,
            });
        }
        Ok(listeners)
    }

    fn advertise(&self, listeners: &mut [Listener]) -> Result<(), ConfigError> {
        let Some(advertised) = &self.advertised else { return self.check_routable(listeners) };
        let shown = advertised.join(",");
        let wrong = |must: String| ConfigError::value("advertised.listeners", &shown, must);
        for text in advertised {
            let Some((name, host, port)) = end_point(text) else {
                return Err(wrong(format!("{text} must be of the form NAME://host:port")));
            };
            let Some(listener) = listeners.iter_mut().find(|l| l.name == name) else {
                return Err(wrong(format!("{name} must also be in listeners")));
            };
            if listener.advertised {
                return Err(wrong(format!("must not name {name} twice")));
            }
            listener.advertised = true;
            listener.advertised_port = port;
            listener.advertises_own_name = host.is_none();
            if let Some(host) = host {
                listener.advertised_host = host;
            }
        }
        self.check_routable(listeners)
    }

    fn check_routable(&self, listeners: &[Listener]) -> Result<(), ConfigError> {
        let is_controller = |name: &str| self.controller_names.iter().any(|c| c.eq_ignore_ascii_case(name));
        let told = |l: &&Listener| l.advertised && !is_controller(&l.name) && l.advertised_host == "0.0.0.0";
        match listeners.iter().find(told) {
            None => Ok(()),
            Some(listener) => {
                let shown = format!("{}://0.0.0.0:{}", listener.name, listener.advertised_port);
                Err(ConfigError::value("advertised.listeners", shown, "must be an address which clients can reach"))
            }
        }
    }

    fn check_inter_broker(&self, broker: &[Listener]) -> Result<(), ConfigError> {
        let Some(name) = &self.inter_broker_name else {
            return match self.inter_broker_protocol.as_deref() {
                None | Some("PLAINTEXT") => Ok(()),
                Some(other) => {
                    let must = "is not yet served, only PLAINTEXT is";
                    Err(ConfigError::value("security.inter.broker.protocol", other, must))
                }
            };
        };
        if let Some(protocol) = &self.inter_broker_protocol {
            let must = "must not be given together with inter.broker.listener.name";
            return Err(ConfigError::value("security.inter.broker.protocol", protocol, must));
        }
        if broker.iter().any(|l| l.advertised && l.name.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        Err(ConfigError::value("inter.broker.listener.name", name, "must be one of the advertised listeners"))
    }
}

/// `NAME://host:port` with an optional host, which may be a bracketed IPv6 address.
fn end_point(text: &str) -> Option<(String, Option<String>, u16)> {
    let (name, address) = text.trim().split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '%' | '.' | '_' | ':');
    let good_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(good_name) || !host.chars().all(legal) {
        return None;
    }
    let host = (!host.is_empty()).then(|| host.to_owned());
    Some((name.to_uppercase(), host, port.parse().ok()?))
}

/// Whether one host is an IPv4 address and the other an IPv6 one: then they may share a port.
fn both_families(a: Option<&str>, b: Option<&str>) -> bool {
    use std::net::IpAddr;
    let family = |host: Option<&str>| host.and_then(|h| h.parse().ok()).map(|ip: IpAddr| ip.is_ipv4());
    matches!((family(a), family(b)), (Some(a), Some(b)) if a != b)
}

#[cfg(test)]
mod tests;
