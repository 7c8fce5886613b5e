"""What the messages of OpenTelemetry and of Perfetto find in a file: read.py otlp|perfetto FILE

Prints JSON: how many fields are not known to them, and by kind the unit and the stacks, the outermost frame first, with their weights.
"""

import collections
import json
import sys

from google.protobuf import unknown_fields


def unknown(message):
    """The number of fields, at any depth, that the message's type doesn't have."""
    count = len(unknown_fields.UnknownFieldSet(message))
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            count += sum(unknown(part) for part in (value if field.is_repeated else [value]))
    return count


def otlp(data):
    from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest
    from opentelemetry.proto.profiles.v1development.profiles_pb2 import ProfilesData

    file = ProfilesData.FromString(data)
    assert ExportProfilesServiceRequest.FromString(data).SerializeToString() == file.SerializeToString()
    tables, text, kinds = file.dictionary, file.dictionary.string_table, {}
    for profile in file.resource_profiles[0].scope_profiles[0].profiles:
        stacks = collections.Counter()
        for sample in profile.samples:
            attributes = [tables.attribute_table[index] for index in sample.attribute_indices]
            values = {text[attribute.key_strindex]: attribute.value for attribute in attributes}
            stack = [values[key].string_value for key in ("process.executable.name", "thread.name", "kiln.state") if key in values]
            for index in reversed(tables.stack_table[sample.stack_index].location_indices):
                for line in reversed(tables.location_table[index].lines):
                    stack.append(text[tables.function_table[line.function_index].name_strindex])
            stacks[";".join(stack)] += sum(sample.values)
        kinds[text[profile.sample_type.type_strindex]] = {"unit": text[profile.sample_type.unit_strindex], "stacks": stacks}
    return {"unknown": unknown(file), "kinds": kinds}


def perfetto(data):
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import StackSample, Trace

    trace, interned, kinds, threads = Trace.FromString(data), collections.defaultdict(dict), {}, {}
    for packet in trace.packet:
        for field, entries in packet.interned_data.ListFields():
            for entry in entries:
                interned[field.name][entry.iid] = entry
        if packet.track_descriptor.HasField("thread"):
            threads[packet.track_descriptor.thread.tid] = packet.track_descriptor.thread.thread_name
        if packet.HasField("stack_sample"):
            sample = packet.stack_sample
            counter = interned["stack_sample_counter_descriptors"][sample.primary_descriptor_iid]
            stack = [threads[interned["stack_sample_task_contexts"][sample.task_context_iid].tid]]
            for frame in interned["callstacks"][sample.callstack_iid].frame_ids:
                stack.append(interned["function_names"][interned["frames"][frame].function_name_id].str.decode())
            unit = StackSample.CounterDescriptor.DESCRIPTOR.fields_by_name["unit"].enum_type.values_by_number[counter.unit].name
            kind = kinds.setdefault(counter.name, {"unit": unit, "stacks": collections.Counter()})
            kind["stacks"][";".join(stack)] += sample.primary_weight
    return {"unknown": unknown(trace), "kinds": kinds}


with open(sys.argv[2], "rb") as file:
    print(json.dumps({"otlp": otlp, "perfetto": perfetto}[sys.argv[1]](file.read())))
