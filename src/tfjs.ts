/** TensorFlow.js on these kernels. @module */
export { install, type TensorFlow, type Uninstall } from "./integrations/tfjs/install.js";
