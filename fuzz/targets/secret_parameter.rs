#![no_main]

use planet_call_exporter::fuzzing;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzing::secret_parameter(bytes));
