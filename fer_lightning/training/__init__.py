"""What stands around the steps of a training: records, schedules, averages, teachers, speed."""
