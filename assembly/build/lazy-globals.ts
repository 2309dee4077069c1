// Given to the bundler, which takes these names for the globals of the same names, throughout the package. It is for the
// sake of @assemblyscript/loader, bundled as it is: it makes a TextDecoder while it is imported, which would fail where
// there is none (Jest's jsdom, an AudioWorklet), and asks what it is given whether it is a Response, at which Node loads
// all of fetch. Code that makes a Response of its own says globalThis.Response.

/** The engine's, made when it is first used. */
export class TextDecoder {
  readonly #options: ConstructorParameters<typeof globalThis.TextDecoder>;
  #made: globalThis.TextDecoder | undefined;

  constructor(...options: ConstructorParameters<typeof globalThis.TextDecoder>) {
    this.#options = options;
  }

  decode(...bytes: Parameters<globalThis.TextDecoder["decode"]>): string {
    if (typeof globalThis.TextDecoder !== "function") {
      throw new Error("wasm-norm: expected an engine with TextDecoder, got one without");
    }
    this.#made ??= new globalThis.TextDecoder(...this.#options);
    return this.#made.decode(...bytes);
  }
}

/** Answers `instanceof` by what the value says of itself. */
// biome-ignore lint/complexity/noStaticOnlyClass: instanceof wants a class
export class Response {
  static [Symbol.hasInstance](value: unknown): boolean {
    return Object.prototype.toString.call(value) === "[object Response]";
  }
}
