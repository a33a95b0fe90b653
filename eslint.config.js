import js from '@eslint/js';
import tseslint from 'typescript-eslint';
import { LAYERS } from './layers.js';

/** One block a folder: what the data reaches later may not be imported. */
const layerRules = LAYERS.map((folder, index) => ({
  files: [`${folder}/**/*.ts`],
  rules: {
    'no-restricted-imports': [
      'error',
      {
        patterns: [
          ...LAYERS.slice(index + 1).map((later) => ({
            regex: `^\\.\\.?/(?:.*/)?${later.replace('src/', '')}/`,
            message: `${folder} may not import ${later}: the data reaches it later (layers.js).`,
          })),
          { regex: '^\\.\\.?/(?:.*/)?(?:test|bench)/', message: 'Shipped code may not import tests or benchmarks.' },
        ],
      },
    ],
  },
}));

export default tseslint.config(
  { ignores: ['dist/', 'node_modules/', 'coverage/', '.freshet/', 'models/'] },
  js.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [...tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
    },
  },
  { files: ['**/*.js'], languageOptions: { globals: { process: 'readonly', console: 'readonly', URL: 'readonly' } } },
  ...layerRules,
);
