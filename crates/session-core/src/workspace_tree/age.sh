# Whether this storage has been worked in: `new`, `kept`, or `half` when bringing the work back was broken off.
state=$HOME/.cofferdam
if [ -e "$state/half" ]; then
  echo half
elif [ -e "$state" ] || [ -n "$(ls -A /workspace)" ]; then
  echo kept
else
  echo new
fi
