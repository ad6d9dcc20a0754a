//! Carries events to RabbitMQ, and takes messages from it.
