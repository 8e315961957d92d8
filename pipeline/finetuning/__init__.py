"""What `clever finetune` is made of: its plan, the frames of both parts, measurements on the way,
and the result."""
