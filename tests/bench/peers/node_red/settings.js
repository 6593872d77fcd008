// Node-RED with its defaults, less what it would do beside the flow; PGHOST and the like say where.
const { Pool } = require("pg");

module.exports = {
    uiHost: "127.0.0.1",
    uiPort: process.env.PORT,
    httpAdminRoot: false,
    credentialSecret: false,
    telemetry: { enabled: false },
    logging: { console: { level: "warn" } },
    // As many connections as the service's pool has.
    functionGlobalContext: { hooks: new Pool({ max: 16 }) },
};
