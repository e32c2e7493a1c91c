import js from "@eslint/js"
import hooks from "eslint-plugin-react-hooks"
import ts from "typescript-eslint"

export default ts.config(
  { ignores: ["node_modules", "public"] },
  js.configs.recommended,
  ...ts.configs.strict,
  hooks.configs.flat["recommended-latest"],
  {
    rules: {
      // Virtualised lists hand out functions that are meant to change between renders.
      "react-hooks/incompatible-library": "off",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-non-null-assertion": "error",
    },
  },
)
