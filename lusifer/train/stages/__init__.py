"""The two training stages of LUSIFER: alignment, then representation finetuning."""
