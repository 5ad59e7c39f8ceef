#!/bin/sh
# MQTT_BACKEND_PASSWORD is the login of ChargeSphere; MQTT_TENANTS is "tenant:password tenant:password …".
set -eu
passwords=/mosquitto/data/passwords
rm -f "$passwords"
touch "$passwords"
chmod 600 "$passwords"
mosquitto_passwd -b "$passwords" backend "$MQTT_BACKEND_PASSWORD"
for login in ${MQTT_TENANTS:-}; do
    mosquitto_passwd -b "$passwords" "${login%%:*}" "${login#*:}"
done
chown mosquitto:mosquitto "$passwords"
exec mosquitto -c /mosquitto/config/mosquitto.conf
