//! The table of everything that the admin API answers: the router, the roles and the OpenAPI
//! document all come from it.

use tidegate_config::Role;

/// What is done for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Metrics,
    Health,
    MonitorHealth,
    ShowConfig,
    MergeDocument,
    MergePatch,
    ReloadTls,
    Reload,
    History,
    Revert,
    ListBackends,
    AddBackend,
    RemoveBackend,
    UpdateBackend,
    Disconnect,
    ServerStats,
    BackendStats,
    Report,
    Listeners,
    Routes,
    Upstreams,
    Endpoints,
    Drain,
    Undrain,
    Weight,
    Snapshot,
    Explain,
    Audit,
    OpenApi,
}

/// Something that a path and a method stand for.
#[derive(Debug)]
pub(super) struct Resource {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) operation: Operation,
    /// Who may.
    pub(super) role: Role,
    /// One line.
    pub(super) summary: &'static str,
    /// Query parameters and what they mean.
    pub(super) query: &'static [(&'static str, &'static str)],
    /// An example of the body, as JSON; empty: there is none.
    pub(super) body: &'static str,
}

const DRY_RUN: (&str, &str) =
    ("dry_run", "true: check and compile everything, show the differences, apply nothing");

const UPSTREAM: (&str, &str) = ("upstream", "only of this upstream");

const fn get(path: &'static str, operation: Operation, summary: &'static str) -> Resource {
    Resource { method: "GET", path, operation, role: Role::Read, summary, query: &[], body: "" }
}

const fn change(
    method: &'static str,
    path: &'static str,
    operation: Operation,
    summary: &'static str,
    body: &'static str,
) -> Resource {
    Resource { method, path, operation, role: Role::Admin, summary, query: &[DRY_RUN], body }
}

const fn operate(
    path: &'static str,
    operation: Operation,
    summary: &'static str,
    body: &'static str,
) -> Resource {
    Resource { method: "POST", path, operation, role: Role::Operate, summary, query: &[], body }
}

/// Everything, in the order of the documentation.
pub(super) const TABLE: [Resource; 29] = [
    get("/metrics", Operation::Metrics, "Metrics in the Prometheus text format"),
    get("/health", Operation::Health, "Whether the process serves or drains"),
    get("/api/monitor/health", Operation::MonitorHealth, "Tasks and memory of the process"),
    get(
        "/api/v1/config",
        Operation::ShowConfig,
        "The configuration in force in both vocabularies, secrets as ***",
    ),
    change(
        "PUT",
        "/api/v1/config",
        Operation::MergeDocument,
        "Merge a partial document, of SpeedMimi's sections or ours, and apply it whole or not at all",
        r#"{"routing":{"default":{"load_balancer":"weight"}}}"#,
    ),
    change(
        "PATCH",
        "/api/v1/config",
        Operation::MergePatch,
        "Apply a JSON merge patch (RFC 7396) of the configuration",
        r#"{"limits":{"requests":2000}}"#,
    ),
    operate("/api/v1/config/reload-ssl", Operation::ReloadTls, "Read the certificates again", ""),
    get(
        "/api/v1/config/history",
        Operation::History,
        "Versions of the configuration file that changes have replaced, the newest first",
    ),
    change(
        "POST",
        "/api/v1/config/revert",
        Operation::Revert,
        "Put an earlier version of the file in force; without an id the newest",
        r#"{"id":"1767225600-0"}"#,
    ),
    operate("/api/v1/reload", Operation::Reload, "Read the configuration's source again", ""),
    Resource {
        query: &[("upstream", "the upstream's name; required")],
        ..get(
            "/api/v1/backends",
            Operation::ListBackends,
            "Backends of an upstream, as SpeedMimi showed them",
        )
    },
    change(
        "POST",
        "/api/v1/backends/add",
        Operation::AddBackend,
        "Add a backend to an upstream",
        r#"{"upstream_id":"default","backend":{"id":"backend3","host":"127.0.0.1","port":8083,"weight":100,"scheme":"http","active":true,"max_conn":1000}}"#,
    ),
    Resource {
        query: &[
            DRY_RUN,
            ("upstream_id", "the upstream, where there is no body"),
            ("backend_id", "the backend, where there is no body"),
        ],
        ..change(
            "DELETE",
            "/api/v1/backends/remove",
            Operation::RemoveBackend,
            "Remove a backend; what it has in flight ends by itself",
            r#"{"upstream_id":"default","backend_id":"backend1"}"#,
        )
    },
    change(
        "PUT",
        "/api/v1/backends/update",
        Operation::UpdateBackend,
        "Change fields of a backend",
        r#"{"upstream_id":"default","backend_id":"backend1","max_conn":500}"#,
    ),
    operate(
        "/api/v1/backends/disconnect",
        Operation::Disconnect,
        "Send no new requests to a backend; with force, end what is left after the grace",
        r#"{"upstream_id":"default","backend_id":"backend1","force":true,"grace":"30s"}"#,
    ),
    get("/api/v1/stats/server", Operation::ServerStats, "Load of this machine and of the process"),
    Resource {
        query: &[UPSTREAM, ("backend_id", "only of this backend")],
        ..get(
            "/api/v1/stats/backend",
            Operation::BackendStats,
            "What backends reported and what is counted of them",
        )
    },
    operate(
        "/api/v1/report",
        Operation::Report,
        "A backend reports its load",
        r#"{"upstream":"default","backend_id":"backend1","performance":{"cpu_usage":25.5,"memory_usage":60.2,"load_avg_1":1.2}}"#,
    ),
    get("/api/v1/listeners", Operation::Listeners, "Listeners"),
    get("/api/v1/routes", Operation::Routes, "Routes and what they have answered"),
    get("/api/v1/upstreams", Operation::Upstreams, "Upstreams and their endpoints"),
    Resource {
        query: &[UPSTREAM],
        ..get("/api/v1/endpoints", Operation::Endpoints, "Endpoints and their state")
    },
    operate(
        "/api/v1/endpoints/drain",
        Operation::Drain,
        "Send no new requests to an endpoint; with force, end what is left after the grace",
        r#"{"upstream":"app","endpoint":"http://127.0.0.1:8081","force":false,"grace":"30s"}"#,
    ),
    operate(
        "/api/v1/endpoints/undrain",
        Operation::Undrain,
        "Let a drained endpoint take requests again",
        r#"{"upstream":"app","endpoint":"http://127.0.0.1:8081"}"#,
    ),
    change(
        "POST",
        "/api/v1/endpoints/weight",
        Operation::Weight,
        "Change an endpoint's weight",
        r#"{"upstream":"app","endpoint":"http://127.0.0.1:8081","weight":2}"#,
    ),
    get("/api/v1/snapshot", Operation::Snapshot, "What is in force and how full the process is"),
    Resource {
        query: &[
            ("url", "the request's URL, or a path; required"),
            ("method", "its method; GET"),
            ("from", "the caller's address"),
            ("header", "a field, \"Name: value\"; may be repeated"),
        ],
        ..get(
            "/api/v1/explain",
            Operation::Explain,
            "Where a request goes now and why: routes, upstream, endpoints and their scores",
        )
    },
    Resource {
        query: &[("limit", "entries at most, the newest first; 100")],
        ..get("/api/v1/audit", Operation::Audit, "Who changed what, and who was refused")
    },
    get("/api/v1/openapi.json", Operation::OpenApi, "This document"),
];
