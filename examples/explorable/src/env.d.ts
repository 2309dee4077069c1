declare module "*?gzip" {
  /** The file, compressed, in base64. */
  const base64: string;
  export default base64;
}
