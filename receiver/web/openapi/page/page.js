// Everything comes from this service: the description, and nothing else is ever asked for.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  displayOperationId: false,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  defaultModelExpandDepth: 3,
  filter: true,
  // Bounds of parameters: how long, how much.
  showCommonExtensions: true,
  tryItOutEnabled: false,
  // A token stays in this tab only.
  persistAuthorization: false,
  validatorUrl: null,
});
