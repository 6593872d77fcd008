// Swagger UI has dark colours, and leaves it to the page when to use them.
const dark = matchMedia("(prefers-color-scheme: dark)");
const paint = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", paint);
paint();

// The description of this service is all that the page requests.
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
  // Lengths and ranges of parameters.
  showCommonExtensions: true,
  tryItOutEnabled: false,
  // The token is only kept in this tab.
  persistAuthorization: false,
  validatorUrl: null,
});
