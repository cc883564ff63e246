//! The list of routes: each with what it needs, guarded where it is added.

use crate::access::{self, Need};
use crate::connection::Door;
use crate::state::State;
use crate::tenant;
use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodFilter, on};
use std::sync::Arc;

/// One method of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The method.
    pub method: Method,
    /// The path, without `server.path_prefix`; variable parts stand in braces.
    pub path: &'static str,
    /// What a request must bring.
    pub need: Need,
}

/// A router in the making, and the list of what is in it.
pub(crate) struct Routes {
    state: Arc<State>,
    router: Router<Arc<State>>,
    list: Vec<Route>,
}

impl Routes {
    pub(crate) fn new(state: &Arc<State>) -> Self {
        Self { state: Arc::clone(state), router: Router::new(), list: Vec::new() }
    }

    /// Adds a handler; there is no other way in, and none without a need.
    pub(crate) fn add<H, T>(mut self, methods: &[Method], path: &'static str, need: Need, handler: H) -> Self
    where
        H: Handler<T, Arc<State>>,
        T: 'static,
    {
        for method in methods {
            let Ok(filter) = MethodFilter::try_from(method.clone()) else { continue };
            let guard = from_fn_with_state((Arc::clone(&self.state), need), guard);
            self.router = self.router.route(path, on(filter, handler.clone()).route_layer(guard));
            self.list.push(Route { method: method.clone(), path, need });
        }
        self
    }

    /// Adds a handler that reads, for GET and for a form.
    pub(crate) fn read<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<State>>,
        T: 'static,
    {
        self.add(&[Method::GET, Method::POST], path, Need::Read, handler)
    }

    /// Adds a handler that takes a push.
    pub(crate) fn push<H, T>(self, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, Arc<State>>,
        T: 'static,
    {
        self.add(&[Method::POST], path, Need::Write, handler)
    }

    pub(crate) fn finish(self) -> (Router<Arc<State>>, Vec<Route>) {
        (self.router, self.list)
    }
}

/// Looks at the token before the handler sees the request.
async fn guard(
    Shared((state, need)): Shared<(Arc<State>, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    let settings = &state.settings;
    let tokens = match request.extensions().get() {
        Some(Door::Own) => &state.own_tokens,
        Some(Door::Front) | None => &settings.tokens,
    };
    let admitted = access::admit(tokens, settings.auth_enabled, need, request.headers_mut());
    let admitted = admitted.and_then(|()| match need {
        Need::Operator => tenant::refuse(request.headers(), settings.auth_enabled),
        _ => Ok(()),
    });
    match admitted {
        Ok(()) => next.run(request).await,
        Err(error) => access::refuse(error),
    }
}
