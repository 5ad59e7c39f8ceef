"""Which function decides what is asked of a charge point."""

from __future__ import annotations

from commands.base import Command, Route
from commands.charge_point import models
from commands.charge_point.availability import want_availability
from commands.charge_point.awaiting import await_connection
from commands.charge_point.calls import conclude_call, note_call_sent, request_call, reserve, timer_due
from commands.charge_point.configuring import want_defaults, want_variables
from commands.charge_point.endings import end_transaction
from commands.charge_point.presence import (
    authorize,
    boot,
    connect,
    disconnect,
    notify,
    report_status,
    see,
    transfer_data,
)
from commands.charge_point.provisioning import (
    change,
    find,
    offer_credentials,
    register,
    remove,
    set_credentials,
)
from commands.charge_point.releasing import releasing
from commands.charge_point.reserving import give_up
from commands.charge_point.transactions import (
    record_meter_values,
    settle_stop,
    start_transaction,
    stop_transaction,
    take_over,
)
from domain.charge_point import ChargePoint

ROUTES: dict[type[Command], Route] = {
    models.Register: Route(ChargePoint, register),
    models.Change: Route(ChargePoint, change),
    models.Remove: Route(ChargePoint, remove),
    models.Find: Route(ChargePoint, find),
    models.SetCredentials: Route(ChargePoint, set_credentials),
    models.OfferCredentials: Route(ChargePoint, offer_credentials),
    models.Connect: Route(ChargePoint, connect),
    models.Disconnect: Route(ChargePoint, disconnect),
    models.Boot: Route(ChargePoint, boot),
    models.See: Route(ChargePoint, see),
    models.ReportStatus: Route(ChargePoint, releasing(report_status)),
    models.Authorize: Route(ChargePoint, authorize),
    models.StartTransaction: Route(ChargePoint, releasing(start_transaction)),
    models.RecordMeterValues: Route(ChargePoint, record_meter_values),
    models.TakeOver: Route(ChargePoint, take_over),
    models.StopTransaction: Route(ChargePoint, releasing(stop_transaction)),
    models.EndTransaction: Route(ChargePoint, releasing(end_transaction)),
    models.SettleStop: Route(ChargePoint, releasing(settle_stop)),
    models.TransferData: Route(ChargePoint, transfer_data),
    models.Notify: Route(ChargePoint, notify),
    models.RequestCall: Route(ChargePoint, request_call),
    models.AwaitConnection: Route(ChargePoint, await_connection),
    models.NoteCallSent: Route(ChargePoint, note_call_sent),
    models.ConcludeCall: Route(ChargePoint, conclude_call),
    models.Reserve: Route(ChargePoint, reserve),
    models.GiveUpReservation: Route(ChargePoint, give_up),
    models.WantVariables: Route(ChargePoint, want_variables),
    models.WantAvailability: Route(ChargePoint, want_availability),
    models.WantDefaults: Route(ChargePoint, want_defaults),
}

TIMER = releasing(timer_due)
