;;; peersync.el --- Meet developers in other editors  -*- lexical-binding: t; -*-

;; Author: The PeerSync Dev Connect authors
;; Version: 0.1.0
;; Package-Requires: ((emacs "27.1") (websocket "1.12"))
;; Keywords: comm, tools
;; SPDX-License-Identifier: MIT

;; This file is not part of GNU Emacs.

;;; Commentary:

;; See who is there, agree on a session, send the region, read what arrives,
;; through a PeerSync server.  Bind `peersync-command-map' to a key:
;;
;;   (global-set-key (kbd "C-c y") peersync-command-map)
;;
;; `peersync-connect' connects, and comes back after a lost connection.

;;; Code:

(require 'json)
(require 'subr-x)
(require 'tabulated-list)
(require 'websocket)

(defgroup peersync nil
  "Meet developers in other editors."
  :group 'comm
  :prefix "peersync-")

(defcustom peersync-url (or (getenv "PEERSYNC_URL") "ws://127.0.0.1:3000/ws")
  "Where the server is."
  :type 'string)

(defcustom peersync-token nil
  "The access token, or a function that returns it.
If this is nil, `peersync-token-command' is run, and without that the
environment variable PEERSYNC_TOKEN counts."
  :type '(choice (const :tag "From elsewhere" nil) string function))

(defcustom peersync-token-command nil
  "A command that prints the access token, as a list of strings."
  :type '(choice (const :tag "None" nil) (repeat string)))

(defcustom peersync-display-name nil
  "How others see you; nil for the name in the token."
  :type '(choice (const :tag "The token's" nil) string))

(defcustom peersync-role "guest"
  "The role to register with."
  :type '(choice (const "host") (const "guest") (const "observer")))

(defface peersync-name '((t :inherit font-lock-function-name-face))
  "Face for who said something.")

(defface peersync-code '((t :inherit (fixed-pitch font-lock-string-face)))
  "Face for code that arrived.")

(defconst peersync--talk-name "*PeerSync*")
(defconst peersync--peers-name "*PeerSync peers*")

(defconst peersync--stops
  '((1000 . "the server said goodbye")
    (1002 . "a bug of this client: it broke the WebSocket protocol")
    (1007 . "a bug of this client: it sent what is not UTF-8")
    (1009 . "the message was larger than the server takes")
    (4002 . "you connected from elsewhere; M-x peersync-connect takes over"))
  "Why a connection closed with this code is not opened again by itself.")

(defconst peersync--needs-token '(4001 4003)
  "The close codes after which another token is needed.")

(defconst peersync--passing '("ERR_5004" "ERR_9001" "ERR_9002")
  "The codes of refusals that trying again may mend.")

(defconst peersync--rate-limited 4029)
(defconst peersync--broken 1006)
(defconst peersync--longest-pause 15)
(defconst peersync--patience 10)
(defconst peersync--heartbeat 30)

(defvar peersync--status 'offline
  "One of `offline', `connecting', `online' and `waiting'.")
(defvar peersync--life nil
  "What tells the current connection from those before it.")
(defvar peersync--socket nil)
(defvar peersync--code nil
  "The code that the server closed the connection with.")
(defvar peersync--attempt 0)
(defvar peersync--timer nil
  "The next thing to happen by itself: giving up, coming back, a sign of life.")
(defvar peersync--is-leaving nil)
(defvar peersync--awaits-pong nil)
(defvar peersync--token nil
  "The token that was presented last.")
(defvar peersync--refused nil
  "A token that the server does not take.")
(defvar peersync--me nil)
(defvar peersync--peers nil
  "Who is there, by id.")
(defvar peersync--requests nil
  "Who asks for a session: `CONNECTION_REQUEST_RECEIVED' data by peer id.")
(defvar peersync--sessions nil
  "The participants, by id, of each session, by session id.")

;;;; What is shown

(defvar peersync-talk-mode-map
  (let ((map (make-sparse-keymap)))
    (set-keymap-parent map special-mode-map)
    (define-key map "a" #'peersync-accept)
    (define-key map "x" #'peersync-reject)
    (define-key map "s" #'peersync-say)
    (define-key map "p" #'peersync-list-peers)
    map)
  "Keys where it is shown what was said.")

(define-derived-mode peersync-talk-mode special-mode "PeerSync"
  "What was said, and what happened."
  (setq-local window-point-insertion-type t)
  (setq-local scroll-conservatively 101)
  (visual-line-mode))

(defun peersync--talk-buffer ()
  "Return the buffer of what was said."
  (with-current-buffer (get-buffer-create peersync--talk-name)
    (unless (derived-mode-p 'peersync-talk-mode)
      (peersync-talk-mode))
    (current-buffer)))

(defun peersync--one-line (text)
  "Return TEXT without control characters."
  (replace-regexp-in-string "[[:cntrl:]]" " " text))

(defun peersync--insert (text)
  "Add TEXT to what was said."
  (with-current-buffer (peersync--talk-buffer)
    (let ((inhibit-read-only t)
          (was-at-end (= (point) (point-max))))
      (save-excursion
        (goto-char (point-max))
        (insert (format-time-string "%H:%M ") text "\n"))
      (when was-at-end
        (goto-char (point-max))))
    (dolist (window (get-buffer-window-list nil nil t))
      (set-window-point window (point-max)))))

(defun peersync--tell (format &rest arguments)
  "Tell what happened: FORMAT with ARGUMENTS."
  (let ((text (peersync--one-line (apply #'format format arguments))))
    (peersync--insert text)
    (unless (get-buffer-window peersync--talk-name t)
      (message "PeerSync: %s" text))))

(defun peersync--code-text (content)
  "Return the code in CONTENT, and where it is from, for a reader."
  (let ((file (alist-get 'file content))
        (line (alist-get 'line content))
        (code (alist-get 'text content)))
    (concat (and (stringp file) (peersync--one-line file))
            (and (integerp line) (format ":%d" line))
            "\n"
            (propertize code 'face 'peersync-code))))

(defun peersync--content-text (content)
  "Return CONTENT, any JSON value, for a reader."
  (cond ((stringp content) content)
        ((and (consp content) (stringp (alist-get 'text content)))
         (peersync--code-text content))
        (t (let ((json-null :null) (json-false :false))
             (json-encode content)))))

;;;; The two shapes of a message

;; Extensions written for the original server put what they say in an
;; envelope, (messageId content type), and cannot read anything else.

(defvar peersync--enveloping nil
  "The ids of those whose last message had an envelope.")

(defun peersync--has-envelope (content)
  "Return whether CONTENT, any JSON value, is an envelope."
  (and (consp content)
       (stringp (alist-get 'messageId content))
       (assq 'content content)
       t))

(defun peersync--said (content type)
  "Return CONTENT and TYPE of a message without its envelope, as a list.
The type of an envelope counts if the message has none or is chat."
  (if (not (peersync--has-envelope content))
      (list content type)
    (let ((inner (alist-get 'type content)))
      (list (alist-get 'content content)
            (if (and (stringp inner) (member type '(nil "chat"))) inner type)))))

(defun peersync--as-text (content)
  "Return CONTENT, a text or code, as a text."
  (if (stringp content)
      content
    (format "%s:%d\n```%s\n%s\n```" (alist-get 'file content) (alist-get 'line content)
            (alist-get 'language content) (alist-get 'text content))))

(defun peersync--enveloped (content)
  "Return CONTENT, a text or code, as a reader of envelopes takes it."
  (let ((id (md5 (format "%s %s %s" (current-time) (emacs-pid) (random)))))
    `((messageId . ,(concat "msg_" id)) (content . ,(peersync--as-text content)) (type . "chat"))))

(defun peersync--show-message (name content &optional type)
  "Show CONTENT, a message of TYPE from NAME."
  (let ((kind (if (member type '(nil "chat" "code")) "" (format " [%s]" type))))
    (peersync--insert (concat (propertize name 'face 'peersync-name)
                              (peersync--one-line kind) ": "
                              (peersync--content-text content)))))

(defun peersync-talk ()
  "Show what was said, and leave point where it is."
  (interactive)
  (display-buffer (peersync--talk-buffer)
                  '((display-buffer-reuse-window display-buffer-at-bottom)
                    (window-height . 12))))

;;;; Who is there

(defvar peersync-peers-mode-map
  (let ((map (make-sparse-keymap)))
    (set-keymap-parent map tabulated-list-mode-map)
    (define-key map (kbd "RET") #'peersync-request)
    (define-key map "a" #'peersync-accept)
    (define-key map "x" #'peersync-reject)
    (define-key map "l" #'peersync-leave)
    map)
  "Keys in the list of peers.")

(define-derived-mode peersync-peers-mode tabulated-list-mode "Peers"
  "Who is there: RET asks, a accepts, x rejects, l leaves."
  (setq tabulated-list-format [("Name" 24 t) ("Editor" 10 t) ("Role" 9 t)
                               ("Status" 10 t) ("Network" 7 t)]
        tabulated-list-entries #'peersync--rows)
  (tabulated-list-init-header))

(defun peersync--get (data &rest keys)
  "Return what is found in DATA, alists in alists, under KEYS."
  (dolist (key keys data)
    (setq data (alist-get key data nil nil #'equal))))

(defun peersync--name (id)
  "Return how the user ID is called."
  (let ((name (peersync--get peersync--peers id 'profile 'displayName)))
    (dolist (session peersync--sessions)
      (setq name (or name (peersync--get (cdr session) id 'profile 'displayName))))
    (peersync--one-line (or name id))))

(defun peersync--state (id peer)
  "Return how PEER, whose id is ID, stands to us."
  (cond ((assoc id peersync--requests) "asks you")
        ((peersync--sessions-with id) "in session")
        (t (alist-get 'status peer "online"))))

(defun peersync--rows ()
  "Return the rows of the list of peers."
  (mapcar (lambda (entry)
            (let ((id (car entry)) (peer (cdr entry)))
              (list id (vector (peersync--name id)
                               (peersync--get peer 'profile 'ide)
                               (peersync--get peer 'profile 'role)
                               (peersync--state id peer)
                               (alist-get 'connectionMode peer "")))))
          peersync--peers))

(defun peersync--changed ()
  "Show who is there as it is now."
  (when (get-buffer peersync--peers-name)
    (with-current-buffer peersync--peers-name
      (tabulated-list-print t))))

(defun peersync-list-peers ()
  "Show who is there."
  (interactive)
  (with-current-buffer (get-buffer-create peersync--peers-name)
    (peersync-peers-mode)
    (tabulated-list-print)
    (pop-to-buffer (current-buffer))))

(defun peersync--read-peer (prompt among)
  "Ask with PROMPT for a peer of AMONG, an alist by id, and return the id.
The peer of the current line of the list of peers is taken unasked, and so
is the only one."
  (let ((here (and (derived-mode-p 'peersync-peers-mode) (tabulated-list-get-id))))
    (cond ((null among) (user-error "There is nobody to choose"))
          ((and here (assoc here among)) here)
          ((null (cdr among)) (caar among))
          (t (completing-read prompt among nil t)))))

;;;; Sessions

(defun peersync--others (session)
  "Return the ids of the others in SESSION."
  (remove peersync--me (mapcar #'car (cdr session))))

(defun peersync--sessions-with (peer)
  "Return the sessions with PEER."
  (seq-filter (lambda (session) (member peer (peersync--others session)))
              peersync--sessions))

(defun peersync--names (session)
  "Return the names of the others in SESSION."
  (mapconcat #'peersync--name (peersync--others session) ", "))

(defun peersync--read-session ()
  "Return a session: the only one, or that with the peer that the user names."
  (pcase peersync--sessions
    ('nil (user-error "No session: M-x peersync-request"))
    (`(,session) session)
    (_ (let ((peers (mapcan #'peersync--others peersync--sessions)))
         (car (peersync--sessions-with
               (peersync--read-peer "To whom: " (mapcar #'list peers))))))))

(defun peersync--join (id participants)
  "Take note of the session ID with PARTICIPANTS, and return it."
  (setf (alist-get id peersync--sessions nil nil #'equal)
        (mapcar (lambda (each) (cons (alist-get 'id each) each)) participants))
  (assoc id peersync--sessions))

;;;; The token

(defun peersync--run-token-command (done)
  "Run `peersync-token-command' and call DONE with what it prints, or nil."
  (let ((output ""))
    (make-process
     :name "peersync-token" :noquery t :connection-type 'pipe
     :command peersync-token-command
     :stderr (get-buffer-create " *PeerSync token*")
     :filter (lambda (_process text) (setq output (concat output text)))
     :sentinel (lambda (process _change)
                 (unless (process-live-p process)
                   (funcall done (and (zerop (process-exit-status process))
                                      (string-trim output))))))))

(defun peersync--with-token (done)
  "Find the access token anew and call DONE with it, or with nil."
  (cond ((functionp peersync-token) (funcall done (funcall peersync-token)))
        (peersync-token (funcall done peersync-token))
        (peersync-token-command (peersync--run-token-command done))
        (t (funcall done (getenv "PEERSYNC_TOKEN")))))

;;;; The connection

(defun peersync--after (seconds function &rest arguments)
  "In SECONDS call FUNCTION with ARGUMENTS, instead of what was to come."
  (when peersync--timer
    (cancel-timer peersync--timer))
  (setq peersync--timer
        (and seconds (apply #'run-at-time seconds nil function arguments))))

(defun peersync--decode (text)
  "Return the value of the JSON TEXT.
The slower reader takes what the strict one does not, such as half an emoji."
  (condition-case nil
      (json-parse-string text :object-type 'alist :null-object :null :false-object :false)
    (error (let ((json-object-type 'alist) (json-array-type 'vector)
                 (json-null :null) (json-false :false))
             (json-read-from-string text)))))

(defun peersync--transmit (event &optional data)
  "Send EVENT with DATA, an alist; entries that are nil are left out."
  (websocket-send-text
   peersync--socket
   (json-serialize `((event . ,event) (data . ,(seq-filter #'cdr data))))))

(defun peersync--send (event &optional data)
  "Send EVENT with DATA, or tell the user that there is no connection."
  (unless (and (eq peersync--status 'online) (websocket-openp peersync--socket))
    (user-error "Not connected: M-x peersync-connect"))
  (peersync--transmit event data))

(defun peersync--connect ()
  "Open a connection with the token as it is now."
  (setq peersync--status 'connecting)
  (let ((life (list nil)))
    (setq peersync--life life)
    (condition-case problem
        (peersync--with-token
         (lambda (token)
           (when (eq life peersync--life)
             (peersync--present token life))))
      (file-missing (peersync--give-up (error-message-string problem))))))

(defun peersync--present (token life)
  "Connect in LIFE to present TOKEN, unless it cannot be good."
  (cond ((or (not token) (string-empty-p token))
         (peersync--give-up "No token: set `peersync-token', `peersync-token-command' or PEERSYNC_TOKEN"))
        ((equal token peersync--refused)
         (peersync--give-up "The server does not take this token (any more): get a new one, then M-x peersync-connect"))
        (t (setq peersync--token token)
           (peersync--open life))))

(defun peersync--open (life)
  "Open the socket of LIFE."
  (setq peersync--code nil)
  (condition-case problem
      (let ((socket (websocket-open
                     peersync-url
                     :on-open (lambda (socket) (peersync--opened socket life))
                     :on-message (lambda (_socket frame)
                                   (when (eq life peersync--life)
                                     (peersync--handle (websocket-frame-text frame))))
                     :on-close (lambda (_socket) (peersync--closed life))
                     :on-error #'peersync--problem)))
        (add-function :before (process-filter (websocket-conn socket))
                      (lambda (_process output) (peersync--note-code socket output)))
        (peersync--after peersync--patience #'delete-process (websocket-conn socket)))
    (error (peersync--insert (error-message-string problem))
           (peersync--closed life))))

(defun peersync--problem (_socket _callback problem)
  "Tell of PROBLEM, an error in a callback."
  (unless (eq (car problem) 'websocket-closed)
    (peersync--tell "%s" (error-message-string problem))))

(defun peersync--note-code (socket output)
  "Remember the code of a close frame in OUTPUT of SOCKET.
The library ends the connection at such a frame, but keeps its code to itself."
  (when (and (eq (websocket-ready-state socket) 'open)
             (string-match-p "\210" output))
    (let ((text (concat (websocket-inflight-input socket) output)) frame)
      (while (and (setq frame (websocket-read-frame text))
                  (not (eq (websocket-frame-opcode frame) 'close)))
        (setq text (substring text (websocket-frame-length frame))))
      (when (and frame (>= (length text) 4))
        (setq peersync--code (+ (* 256 (aref text 2)) (aref text 3)))))))

(defun peersync--opened (socket life)
  "Authenticate over SOCKET, the one of LIFE."
  (when (and (eq life peersync--life) (websocket-openp socket))
    (setq peersync--socket socket)
    (peersync--transmit "AUTH" `((token . ,peersync--token)
                                 (capabilities . ["sessions"])
                                 (client . ((name . "peersync.el") (version . "0.1.0")))))))

(defun peersync--closed (life)
  "Take note that the socket of LIFE is closed, once."
  (when (eq life peersync--life)
    (setq peersync--life nil peersync--socket nil)
    (peersync--after nil nil)
    (if peersync--is-leaving
        (peersync--give-up "Disconnected")
      (peersync--come-back (or peersync--code peersync--broken)))))

(defun peersync--come-back (code)
  "Connect again after a pause, unless CODE forbids it."
  (setq peersync--refused (and (memq code peersync--needs-token) peersync--token))
  (let ((why (alist-get code peersync--stops))
        (pause (peersync--pause code (/ (random 1000) 1000.0))))
    (if why
        (peersync--give-up (concat "Disconnected: " why))
      (setq peersync--status 'waiting
            peersync--attempt (1+ peersync--attempt))
      (peersync--tell "Connection lost (%d); again in %.1f s" code pause)
      (peersync--after pause #'peersync--connect))))

(defun peersync--pause (code chance)
  "Return the seconds to wait after CODE, with CHANCE between 0 and 1.
It is between half and all of a time that doubles with each failed attempt."
  (let ((most (if (= code peersync--rate-limited)
                  peersync--longest-pause
                (min peersync--longest-pause (expt 2 peersync--attempt)))))
    (* most (+ 0.5 (/ chance 2)))))

(defun peersync--give-up (why)
  "Stay disconnected, and tell WHY."
  (peersync--after nil nil)
  (setq peersync--status 'offline peersync--life nil peersync--refused nil
        peersync--is-leaving nil peersync--attempt 0
        peersync--peers nil peersync--requests nil peersync--sessions nil)
  (peersync--tell "%s" why)
  (peersync--changed))

(defun peersync--stay ()
  "Ask the server for a sign of life, and cut the connection if none came."
  (if peersync--awaits-pong
      (delete-process (websocket-conn peersync--socket))
    (setq peersync--awaits-pong t)
    (peersync--after peersync--heartbeat #'peersync--stay)
    (peersync--send "PING")))

;;;; Events of the server

(defun peersync--handle (text)
  "Do what is done about TEXT, an event of the server."
  (let* ((event (peersync--decode text))
         (data (alist-get 'data event)))
    (pcase (alist-get 'event event)
      ("AUTH_SUCCESS" (peersync--on-auth data))
      ("AUTH_FAILED" (peersync--tell "The server does not take the token: %s" (alist-get 'message data)))
      ("PEER_REGISTERED" (peersync--on-registered data))
      ("PEERS_LIST" (peersync--on-peers data))
      ("PEER_STATUS_UPDATE" (peersync--on-status data))
      ("SESSIONS" (peersync--on-sessions data))
      ("CONNECTION_REQUEST_RECEIVED" (peersync--on-request data))
      ("CONNECTION_CANCELLED" (peersync--on-cancelled data))
      ("CONNECTION_REJECTED" (peersync--on-rejected data))
      ((or "CONNECTION_ACCEPTED" "SESSION_CREATED") (peersync--on-session data))
      ("SESSION_UPDATED" (peersync--on-updated data))
      ("SESSION_ENDED" (peersync--on-ended data))
      ("MESSAGE_RECEIVED" (peersync--on-message data))
      ("PONG" (setq peersync--awaits-pong nil))
      ("ERROR" (peersync--on-error data)))
    (peersync--changed)))

(defun peersync--on-auth (data)
  "Register as the user that DATA names."
  (setq peersync--me (alist-get 'userId data))
  (peersync--transmit "PEER_REGISTER" `((displayName . ,peersync-display-name)
                                        (ide . "emacs")
                                        (role . ,peersync-role))))

(defun peersync--on-registered (data)
  "Begin to live as the peer in DATA."
  (setq peersync--status 'online peersync--attempt 0 peersync--awaits-pong nil)
  (peersync--after peersync--heartbeat #'peersync--stay)
  (peersync--tell "Connected as %s" (peersync--get data 'profile 'displayName))
  (peersync--send "DISCOVER_PEERS")
  (peersync--send "SESSION_LIST"))

(defun peersync--on-peers (data)
  "Take note of the peers in DATA."
  (setq peersync--peers
        (mapcar (lambda (peer) (cons (alist-get 'id peer) peer)) (alist-get 'peers data))))

(defun peersync--on-status (data)
  "Take note of the peer in DATA, who came, went or changed."
  (setf (alist-get (alist-get 'id data) peersync--peers nil 'remove #'equal)
        (unless (equal (alist-get 'status data) "offline") data)))

(defun peersync--on-sessions (data)
  "Take note of the sessions in DATA, and tell of those that are over."
  (let ((before peersync--sessions))
    (setq peersync--sessions nil)
    (seq-do (lambda (session)
              (peersync--join (alist-get 'sessionId session) (alist-get 'participants session)))
            (alist-get 'sessions data))
    (dolist (session before)
      (unless (assoc (car session) peersync--sessions)
        (peersync--tell "The session with %s ended meanwhile" (peersync--names session))))))

(defun peersync--on-request (data)
  "Tell of the peer in DATA that asks for a session."
  (let ((id (peersync--get data 'from 'id)))
    (unless (assoc id peersync--peers)
      (push (cons id (alist-get 'from data)) peersync--peers))
    (setf (alist-get id peersync--requests nil nil #'equal) data)
    (peersync--tell "%s asks for a session: M-x peersync-accept or peersync-reject" (peersync--name id))))

(defun peersync--on-cancelled (data)
  "Forget the request in DATA."
  (dolist (request peersync--requests)
    (when (equal (alist-get 'requestId (cdr request)) (alist-get 'requestId data))
      (setq peersync--requests (remq request peersync--requests))
      (peersync--tell (pcase (alist-get 'reason data)
                        ("expired" "The request of %s has expired")
                        ("offline" "%s is gone, and no longer asks")
                        (_ "%s no longer asks"))
                      (peersync--name (car request))))))

(defun peersync--on-rejected (data)
  "Tell that nothing comes of the request in DATA."
  (let ((reason (alist-get 'reason data)))
    (peersync--tell "%s did not accept%s" (peersync--name (alist-get 'targetId data))
                    (if reason (concat ": " reason) ""))))

(defun peersync--on-session (data)
  "Begin the session in DATA.
Asking a peer that has asked accepts its request, so drop that."
  (let* ((peer (alist-get 'peer data))
         (request (cdr (assoc (alist-get 'id peer) peersync--requests))))
    (unless (or (alist-get 'requestId data) (alist-get 'sessionId request))
      (setf (alist-get (alist-get 'id peer) peersync--requests nil 'remove #'equal) nil))
    (peersync--join (alist-get 'sessionId data) (list peer))
    (peersync--tell "In session with %s" (peersync--name (alist-get 'id peer)))))

(defun peersync--on-updated (data)
  "Take note of who is in the session in DATA, and tell what changed."
  (let* ((session (peersync--join (alist-get 'sessionId data) (alist-get 'participants data)))
         (kind (peersync--get data 'change 'kind))
         (id (peersync--get data 'change 'id))
         (is-beginning (and (equal kind "joined") (null (cdr (peersync--others session))))))
    (unless (or (equal id peersync--me) is-beginning)
      (peersync--tell "%s: %s" (peersync--name id) kind))))

(defun peersync--on-ended (data)
  "End the session in DATA."
  (let ((session (assoc (alist-get 'sessionId data) peersync--sessions)))
    (when session
      (peersync--tell "The session with %s is over: %s" (peersync--names session) (alist-get 'reason data))
      (setq peersync--sessions (delq session peersync--sessions)))))

(defun peersync--on-message (data)
  "Show the message in DATA."
  (let ((from (alist-get 'from data))
        (content (alist-get 'content data)))
    (setq peersync--enveloping (remove from peersync--enveloping))
    (when (peersync--has-envelope content)
      (push from peersync--enveloping))
    (apply #'peersync--show-message (peersync--name from)
           (peersync--said content (alist-get 'type data)))))

(defun peersync--on-error (data)
  "Tell of the refusal in DATA, and come back if we are not let in for now."
  (let ((code (alist-get 'code data)))
    (peersync--tell "The server refuses (%s): %s" code (alist-get 'message data))
    (when (and (eq peersync--status 'connecting) (member code peersync--passing))
      (delete-process (websocket-conn peersync--socket)))))

;;;; Commands

;;;###autoload
(defun peersync-connect ()
  "Connect to the server, and stay connected."
  (interactive)
  (peersync-talk)
  (when (memq peersync--status '(offline waiting))
    (setq peersync--attempt 0)
    (peersync--connect)))

(defun peersync--say-goodbye ()
  "Send a close frame with the code 1000.
That of the library is not masked, as a client's has to be, so that the
server would take it for a lost connection."
  (process-send-string (websocket-conn peersync--socket)
                       (unibyte-string #x88 #x82 0 0 0 0 #x03 #xe8)))

(defun peersync-disconnect ()
  "Leave: the others are told, and sessions end."
  (interactive)
  (if (not (websocket-openp peersync--socket))
      (peersync--give-up "Disconnected")
    (setq peersync--is-leaving t)
    (peersync--after 2 #'delete-process (websocket-conn peersync--socket))
    (peersync--say-goodbye)))

(defun peersync--quit ()
  "Leave before Emacs ends, and wait a moment for the server to hear it."
  (when (eq peersync--status 'online)
    (peersync-disconnect)
    (with-timeout (1)
      (while peersync--life
        (accept-process-output nil 0.05)))))

(add-hook 'kill-emacs-hook #'peersync--quit)

(defun peersync-request (peer)
  "Ask PEER for a session."
  (interactive (list (peersync--read-peer "Ask: " peersync--peers)))
  (peersync--send "CONNECTION_REQUEST" `((targetId . ,peer)))
  (peersync--tell "Asked %s" (peersync--name peer)))

(defun peersync--answer (peer accepted)
  "Answer what PEER asks: ACCEPTED is t or `:false'."
  (let ((request (cdr (assoc peer peersync--requests))))
    (unless request
      (user-error "%s does not ask" (peersync--name peer)))
    (peersync--send "CONNECTION_RESPONSE" `((requestId . ,(alist-get 'requestId request))
                                            (accepted . ,accepted)))
    (setf (alist-get peer peersync--requests nil 'remove #'equal) nil)
    (peersync--changed)))

(defun peersync-accept (peer)
  "Accept the session that PEER asks for."
  (interactive (list (peersync--read-peer "Accept: " peersync--requests)))
  (peersync--answer peer t))

(defun peersync-reject (peer)
  "Reject the session that PEER asks for."
  (interactive (list (peersync--read-peer "Reject: " peersync--requests)))
  (peersync--answer peer :false))

(defun peersync--deliver (session type content)
  "Send CONTENT, a message of TYPE, to SESSION, and show it.
It goes in an envelope if somebody there reads nothing else."
  (let ((is-enveloped (seq-intersection (peersync--others session) peersync--enveloping)))
    (peersync--send "SEND_MESSAGE"
                    `((sessionId . ,(car session))
                      (type . ,(if is-enveloped "chat" type))
                      (content . ,(if is-enveloped (peersync--enveloped content) content)))))
  (peersync--show-message "You" content))

(defun peersync--file ()
  "Return the name of the current buffer's file within its project, or nil."
  (when buffer-file-name
    (file-relative-name buffer-file-name (or (vc-root-dir) default-directory))))

(defun peersync-send-region (start end session)
  "Send the region from START to END to SESSION, with its language and file."
  (interactive (list (region-beginning) (region-end) (peersync--read-session)))
  (let ((language (string-remove-suffix "-mode" (symbol-name major-mode)))
        (code (buffer-substring-no-properties start end)))
    (peersync--deliver session "code"
                       `((language . ,language)
                         (file . ,(or (peersync--file) (buffer-name)))
                         (line . ,(line-number-at-pos start))
                         (text . ,code)))))

(defun peersync-say (text session)
  "Send TEXT to SESSION."
  (interactive (let ((session (peersync--read-session)))
                 (list (read-string (format "To %s: " (peersync--names session))) session)))
  (peersync--deliver session "chat" text))

(defun peersync-leave (session)
  "Leave SESSION."
  (interactive (list (peersync--read-session)))
  (peersync--send "SESSION_LEAVE" `((sessionId . ,(car session))))
  (setq peersync--sessions (delq session peersync--sessions))
  (peersync--tell "Left the session with %s" (peersync--names session))
  (peersync--changed))

(defvar peersync-command-map
  (let ((map (make-sparse-keymap)))
    (define-key map "c" #'peersync-connect)
    (define-key map "q" #'peersync-disconnect)
    (define-key map "p" #'peersync-list-peers)
    (define-key map "r" #'peersync-request)
    (define-key map "a" #'peersync-accept)
    (define-key map "x" #'peersync-reject)
    (define-key map "s" #'peersync-send-region)
    (define-key map "m" #'peersync-say)
    (define-key map "t" #'peersync-talk)
    (define-key map "l" #'peersync-leave)
    map)
  "The commands by key; bind it to a prefix of yours.")

(provide 'peersync)

;;; peersync.el ends here
