using System.Globalization;
using System.Text;

namespace Kvm.Sched.Simulation;

/// <summary>A jobs file was not understood.</summary>
public sealed class JobFileException : Exception
{
    /// <summary>Makes the exception.</summary>
    /// <param name="line">The line, from 1.</param>
    /// <param name="column">The name of the column, or null where the whole line is wrong.</param>
    /// <param name="what">What is wrong there.</param>
    public JobFileException(int line, string? column, string what)
        : base(column is null ? $"line {line}: {what}" : $"line {line}, column {column}: {what}") => (Line, Column) = (line, column);

    /// <summary>The line, from 1.</summary>
    public int Line { get; }

    /// <summary>The name of the column, or null.</summary>
    public string? Column { get; }
}

/// <summary>
/// Jobs as comma-separated values: a header, then one job a line. Times are milliseconds, amounts bytes or with K, M, G, T (powers of
/// 1,024). Columns may stand in any order; empty lines and lines that begin with # are passed over.
/// </summary>
public static class JobFile
{
    private const int LongestLine = 4096;
    private const int LongestName = 256;

    private static readonly string[] s_required = ["name", "arrival", "length", "priority", "weight"];

    private static readonly string[] s_optional =
        ["vcpus", "memory", "burst", "halt", "deadline", "class", "cap", "reservation", "gang", "affinity", "node", "disk", "iops", "network", "vcpu", "run"];

    private static readonly int s_run = s_required.Length + Array.IndexOf(s_optional, "run");

    /// <summary>The names of all columns, those that must be there first.</summary>
    public static IReadOnlyList<string> Columns { get; } = [.. s_required, .. s_optional];

    /// <summary>How many columns must be there.</summary>
    public static int RequiredColumns => s_required.Length;

    /// <summary>Reads a file.</summary>
    /// <exception cref="JobFileException">It is not one; the line and the column are named.</exception>
    /// <exception cref="IOException">It cannot be read.</exception>
    public static IReadOnlyList<SimulatedJob> Read(TextReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        List<SimulatedJob> jobs = [];
        List<(SimulatedJob Job, int Vcpu, RecordedBurst Burst, int Line)> trace = [];
        int[]? columns = null;
        int number = 0;
        var text = new StringBuilder();
        while (NextLine(reader, text, ++number) is { } line)
        {
            if (string.IsNullOrWhiteSpace(line) || line[0] == '#')
                continue;
            if (columns is null)
            {
                columns = Header(line.TrimStart('\uFEFF'), number);
                continue;
            }

            if (jobs.Count + trace.Count == SimulationSettings.MostJobs)
                throw new JobFileException(number, null, $"more than {SimulationSettings.MostJobs} jobs or, in a trace, bursts");
            var row = new Row(line, number, columns);
            if (Array.IndexOf(columns, s_run) < 0)
                jobs.Add(row.Job());
            else
                trace.Add(row.Burst());
        }

        if (trace.Count > 0)
            jobs.AddRange(JobTrace.Jobs(trace));
        return columns is null ? throw new JobFileException(1, null, $"there is no header: {string.Join(',', s_required)}") : jobs;
    }

    // Not the reader's own: a file of a few gigabytes without a line end is refused, not held in memory.
    private static string? NextLine(TextReader reader, StringBuilder text, int number)
    {
        text.Clear();
        int next = reader.Read();
        if (next < 0)
            return null;
        for (; next is >= 0 and not '\n'; next = reader.Read())
        {
            if (text.Length == LongestLine)
                throw new JobFileException(number, null, $"has more than {LongestLine} characters");
            text.Append((char)next);
        }

        return text.Length > 0 && text[^1] == '\r' ? text.ToString(0, text.Length - 1) : text.ToString();
    }

    /// <summary>Which column each field of a row is.</summary>
    private static int[] Header(string line, int number)
    {
        string[] names = [.. line.Split(',').Select(name => name.Trim())];
        var columns = new int[names.Length];
        for (int i = 0; i < names.Length; i++)
        {
            columns[i] = Array.IndexOf([.. Columns], names[i]);
            string shown = names[i].Length > 40 ? names[i][..40] + "…" : names[i];
            if (columns[i] < 0)
                throw new JobFileException(number, shown, $"there is no such column; there are {string.Join(", ", Columns)}");
            if (Array.IndexOf(names, names[i]) < i)
                throw new JobFileException(number, shown, "stands there twice");
        }

        // What a trace says of lengths are its bursts.
        return s_required.FirstOrDefault(name => !names.Contains(name) && !(name == "length" && names.Contains("run"))) is { } missing
            ? throw new JobFileException(number, missing, "is missing from the header")
            : columns;
    }

    /// <summary>One line, taken apart.</summary>
    private sealed class Row
    {
        private readonly int _number;
        private readonly string?[] _fields = new string?[Columns.Count];

        public Row(string line, int number, int[] columns)
        {
            _number = number;
            int at = 0, field = 0;
            while (true)
            {
                if (field == columns.Length)
                    throw new JobFileException(number, null, $"has more than the header's {columns.Length} fields");
                string value = Field(line, ref at);
                _fields[columns[field++]] = value;
                if (at >= line.Length)
                    break;
                at++;
            }

            if (field < columns.Length)
                throw new JobFileException(number, Columns[columns[field]], $"is missing: the line has {field} fields, the header {columns.Length}");
        }

        /// <summary>A line of a trace: the job without its length, which vCPU, what it did.</summary>
        public (SimulatedJob Job, int Vcpu, RecordedBurst Burst, int Line) Burst()
        {
            _fields[IndexOf("length")] = "1";
            var job = Job();
            return (job, (int)Whole("vcpu", 0, 0, JobSpec.MostVcpus - 1), new RecordedBurst(Time("run", 1), job.Halt), _number);
        }

        public SimulatedJob Job()
        {
            string name = _fields[0] ?? "";
            if (name.Length is 0 or > LongestName)
                throw Bad("name", $"a name has 1 to {LongestName} characters");
            var needs = new ResourceVector(0, Amount("memory"), Amount("disk"), Number("iops", 0, 0, 1e12), Amount("network"));
            return new SimulatedJob
            {
                Name = name,
                Arrival = Time("arrival", 0),
                Length = Text("length") == "inf" ? SimulatedJob.Endless : Time("length", 1),
                Burst = Time("burst", 0),
                Halt = Time("halt", 0),
                Deadline = Time("deadline", 0),
                Class = Text("class") ?? "",
                Spec = new JobSpec
                {
                    Priority = (int)Whole("priority", 0, -JobSpec.HighestPriority, JobSpec.HighestPriority),
                    Weight = Number("weight", 1, JobSpec.LeastWeight, JobSpec.MostWeight),
                    Vcpus = (int)Whole("vcpus", 1, 1, JobSpec.MostVcpus),
                    Cap = Number("cap", 0, 0, JobSpec.MostVcpus),
                    Gang = Whole("gang", 0, 0, 1) > 0,
                    Affinity = Cpus("affinity"),
                    Node = (int)Whole("node", -1, 0, CpuTopology.MostCpus),
                    Reservation = Number("reservation", 0, 0, JobSpec.MostVcpus),
                    Needs = needs,
                },
            };
        }

        /// <summary>The field at a place, and the place of the comma behind it.</summary>
        private string Field(string line, ref int at)
        {
            if (at < line.Length && line[at] == '"')
            {
                int close = at + 1;
                while (true)
                {
                    close = line.IndexOf('"', close);
                    if (close < 0)
                        throw new JobFileException(_number, null, "a quotation mark is not closed");
                    if (close + 1 >= line.Length || line[close + 1] != '"')
                        break;
                    close += 2;
                }

                string quoted = line[(at + 1)..close].Replace("\"\"", "\"", StringComparison.Ordinal);
                at = close + 1;
                return at == line.Length || line[at] == ',' ? quoted : throw new JobFileException(_number, null, "something stands between a quotation mark and the comma");
            }

            int comma = line.IndexOf(',', at);
            int end = comma < 0 ? line.Length : comma;
            string field = line[at..end].Trim();
            // A comma at the end has one more, empty field behind it.
            at = comma == line.Length - 1 ? comma : end;
            return field;
        }

        private string? Text(string column) => _fields[IndexOf(column)] is { Length: > 0 } text ? text : null;

        private static int IndexOf(string column)
        {
            for (int i = 0; i < Columns.Count; i++)
            {
                if (Columns[i] == column)
                    return i;
            }

            return -1;
        }

        /// <summary>Milliseconds as ns.</summary>
        private long Time(string column, long least)
        {
            if (Text(column) is not { } text)
                return IndexOf(column) < s_required.Length || column == "run" ? throw Bad(column, "is empty") : 0;
            if (!decimal.TryParse(text, NumberStyles.AllowDecimalPoint | NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out decimal ms))
                throw Bad(column, $"{Shown(text)} is not a number of milliseconds{(column == "length" ? " or inf" : "")}");
            decimal most = SimulatedJob.LatestTime / 1_000_000m;
            long ns = ms >= 0 && ms <= most ? (long)(ms * 1_000_000) : -1;
            return ns >= least ? ns : throw Bad(column, $"{Shown(text)} is not {(least > 0 ? "above 0" : "at least 0")} and at most {most:0} ms (a hundred years)");
        }

        private long Whole(string column, long none, long least, long most)
        {
            if (Text(column) is not { } text)
                return none;
            return long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long value) && value >= least && value <= most
                ? value
                : throw Bad(column, $"{Shown(text)} is not a whole number from {least} to {most}");
        }

        private double Number(string column, double none, double least, double most)
        {
            if (Text(column) is not { } text)
                return none;
            return double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out double value) && value >= least && value <= most
                ? value
                : throw Bad(column, string.Create(CultureInfo.InvariantCulture, $"{Shown(text)} is not a number from {least} to {most}"));
        }

        private CpuSet? Cpus(string column)
        {
            if (Text(column) is not { } text)
                return null;
            return CpuSet.TryParse(text, CpuTopology.MostCpus, out var set, out string? bad) && set!.Count > 0
                ? set
                : throw Bad(column, $"{Shown(bad ?? text)} is not a list of CPUs such as 0-3,8 (in quotation marks where it has a comma)");
        }

        private double Amount(string column)
        {
            if (Text(column) is not { } text)
                return 0;
            return Amounts.TryParse(text, out double amount) ? amount : throw Bad(column, $"{Shown(text)} is not an amount such as 256M or 2G");
        }

        private JobFileException Bad(string column, string what) => new(_number, column, what);

        private static string Shown(string text) => $"'{(text.Length > 40 ? text[..40] + "…" : text)}'";
    }
}
