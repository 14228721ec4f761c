//! Images, overlays and cloud-init seeds.
