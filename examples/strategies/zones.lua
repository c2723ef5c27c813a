-- Keeps a service's tasks apart, prefers nodes that have the image, and leaves a reserve on nodes of the zone "core",
-- where only services whose options say "core" may use the last quarter of a node.
local reserve = 0.25

function score(task, node)
  local left = node.free_cpu - task.cpu
  if label(node, "zone") == "core" and task.options ~= "core" and left < node.cpu * reserve then
    return nil -- not this node
  end
  local points = -100 * node.service_tasks
  if node.cpu > 0 then
    points = points + 50 * left / node.cpu
  end
  if node.image then
    points = points + 20
  end
  return points
end
