#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ingrain_fuzz::harness::formats::segment_keys(data));
