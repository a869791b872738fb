"""The payment gateways that the settings name."""

from collections.abc import Mapping

from amrutam.gateways.payments import PaymentGateway
from amrutam.gateways.razorpay import RazorpayGateway
from amrutam.gateways.sandbox import SandboxGateway
from amrutam.settings import Settings


def payment_gateways(settings: Settings) -> Mapping[str, PaymentGateway]:
    """By name; the first is the one that is meant where none is named. Empty where nothing can be paid."""
    found = list[PaymentGateway]()
    if settings.razorpay_key_id and settings.razorpay_key_secret:
        secrets = [secret.get_secret_value() for secret in settings.razorpay_webhook_secrets]
        key = settings.razorpay_key_secret.get_secret_value()
        found.append(RazorpayGateway(settings.razorpay_url, settings.razorpay_key_id, key, secrets))
    if settings.payment_sandbox_url and settings.payment_sandbox_key and settings.payment_sandbox_webhook_secret:
        key = settings.payment_sandbox_key.get_secret_value()
        told_by = settings.payment_sandbox_webhook_secret.get_secret_value()
        found.append(SandboxGateway(settings.payment_sandbox_url, key, told_by))
    return {gateway.name: gateway for gateway in found}
